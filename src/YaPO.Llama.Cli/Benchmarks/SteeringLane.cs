using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Benchmarks;

/// <summary>A context for one arm. All lanes of one number of sequences evaluate the same tokens, so they differ in what is attached only.</summary>
internal sealed class SteeringLane : IDisposable
{
    private readonly DecodeBatch batch = new();
    private readonly int[] words;
    private readonly float[] strengths;
    private readonly StockRoute? stock;
    private int position;

    /// <param name="model">The model.</param>
    /// <param name="arm">What is attached.</param>
    /// <param name="tokens">Tokens of each prompt, of all sequences together, and tokens decoded after it.</param>
    /// <param name="threads">As in <see cref="ContextOptions.Threads"/>.</param>
    public SteeringLane(LlamaModel model, SteeringArm arm, (int Prompt, int Answer) tokens, int threads)
    {
        Arm = arm;
        Prompt = Math.Max(2, tokens.Prompt / arm.Sequences);
        words = [.. Enumerable.Range(0, model.Info.VocabularySize).Where(id => !model.IsControl(id) && !model.IsEndOfGeneration(id))];
        var batchSize = Prompt * arm.Sequences;
        stock = arm.Stock ? new StockRoute(model, arm.Vectors) : null;
        Context = new LlamaContext(model, new ContextOptions { ContextSize = (Prompt + tokens.Answer + 1) * arm.Sequences, BatchSize = batchSize, Sequences = arm.Sequences, Threads = threads }, stock);
        if (arm.Vectors.Count > 0 && stock is null)
        {
            Context.SetVectors(arm.Vectors);
        }

        if (arm.Detached)
        {
            Context.SetVectors([]);
        }

        if (arm.ControlVector.Length > 0)
        {
            Context.SetControlVector(arm.ControlVector);
        }

        if (arm.Readout is { } readout)
        {
            Context.SetReadout(readout);
        }

        strengths = new float[Context.Vectors.Count];
        Strength = 1;
    }

    public SteeringArm Arm { get; }

    public LlamaContext Context { get; }

    /// <summary>Tokens of one prompt.</summary>
    public int Prompt { get; }

    /// <summary>λ of every vector, everywhere.</summary>
    public float Strength
    {
        get;
        set
        {
            field = value;
            stock?.SetStrengths([.. Arm.Vectors.Select(_ => value)]);
        }
    }

    /// <summary>Forgets everything and evaluates a prompt of its own for each sequence.</summary>
    public void Prefill(int round)
    {
        Context.Remove(-1, 0);
        batch.Clear(strengths.Length);
        for (var sequence = 0; sequence < Arm.Sequences; sequence++)
        {
            for (position = 0; position < Prompt; position++)
            {
                Add(round, sequence, output: position == Prompt - 1);
            }
        }

        Context.Decode(batch);
    }

    /// <summary>One more token for each sequence.</summary>
    public void Step(int round)
    {
        batch.Clear(strengths.Length);
        for (var sequence = 0; sequence < Arm.Sequences; sequence++)
        {
            Add(round, sequence, output: true);
        }

        position++;
        Context.Decode(batch);
    }

    /// <summary>Logits of the last row.</summary>
    public float[] Logits() => Context.Logits(batch.Count - 1);

    public void Dispose()
    {
        Context.Dispose(); // calls back until it is gone
        stock?.Dispose();
    }

    private void Add(int round, int sequence, bool output)
    {
        // Sequence s has vector s; a single sequence has all.
        for (var v = 0; v < strengths.Length; v++)
        {
            strengths[v] = Arm.Sequences == 1 || v == sequence ? Strength : 0;
        }

        var random = new Random((((round * 1009) + sequence) * 65_537) + position);
        batch.Add(words[random.Next(words.Length)], position, sequence, output, strengths);
    }
}
