using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Evaluation;

/// <summary>The vectors of a measurement and their strengths. All positions but BOS are steered, in prompt and answer.</summary>
/// <param name="Vectors">Attached vectors.</param>
/// <param name="Strengths">One strength each.</param>
public sealed record Steering(IReadOnlyList<AttachedVector> Vectors, IReadOnlyList<float> Strengths)
{
    /// <summary>The model as it is.</summary>
    public static Steering None { get; } = new([], []);

    /// <summary>One vector.</summary>
    public static Steering Of(AttachedVector vector, float strength) => new([vector], [strength]);
}

/// <summary>
/// Scores whole answers and generates greedy ones, many questions against one model. One context is kept; the prompt of a question is
/// evaluated once and shared by its options.
/// </summary>
public sealed class SteeredScorer : IDisposable
{
    private const int AnswerRoom = 96;

    private readonly LlamaModel _model;
    private readonly LlamaContext _context;
    private readonly DecodeBatch _batch = new();
    private readonly int[] _turnEnd;
    private readonly int _sequences;

    /// <summary>Opens a context on a model with a chat template.</summary>
    /// <param name="model">Stays the caller's.</param>
    /// <param name="threads">CPU threads.</param>
    /// <param name="options">Most options of one question.</param>
    public SteeredScorer(LlamaModel model, int threads = 1, int options = 8)
    {
        _model = model;
        _sequences = options;
        _context = new LlamaContext(model, new ContextOptions
        {
            ContextSize = Math.Max(1024, model.Info.TrainingContext + (options * AnswerRoom)),
            BatchSize = 1024,
            MicroBatchSize = 512,
            Sequences = options,
            Threads = threads,
        });
        _turnEnd = TurnEnd(model);
    }

    /// <summary>log p(option, end of turn | question), summed over tokens, for every option of every item.</summary>
    public List<double[]> Score(IReadOnlyList<MultipleChoiceItem> items, Steering steering, CancellationToken cancellation = default)
    {
        _context.SetVectors(steering.Vectors);
        return [.. items.Select(item => Score(item, steering, cancellation))];
    }

    /// <summary>The greedy answer to every prompt, without control tokens.</summary>
    public List<string> Generate(IEnumerable<string> prompts, Steering steering, int limit = 48, CancellationToken cancellation = default)
    {
        _context.SetVectors(steering.Vectors);
        return [.. prompts.Select(prompt => Generate(prompt, steering, limit, cancellation))];
    }

    /// <summary>Residuals [T, D] after a block at every token of a prompt, before that block's steering.</summary>
    public float[] Residuals(string prompt, int layer, Steering steering, CaptureSite site = CaptureSite.BeforeSteering, CancellationToken cancellation = default)
    {
        _context.SetVectors(steering.Vectors);
        _context.SetCapture((layer, site));
        var tokens = PromptTokens(prompt);
        Prefill(tokens, steering, cancellation, all: true);
        var residuals = new float[tokens.Length * _model.Info.ModelWidth];
        _context.CopyCaptured(0, residuals);
        _context.SetCapture();
        return residuals;
    }

    /// <summary>The unsteered residual [D] after every block at the last token of a question and the beginning of its answer.</summary>
    public float[][] LastResiduals(string prompt, string answerStart, CancellationToken cancellation = default)
    {
        var (layers, d) = (_model.Info.LayerCount, _model.Info.ModelWidth);
        _context.SetVectors([]);
        _context.SetCapture([.. Enumerable.Range(0, layers).Select(l => (l, CaptureSite.BeforeSteering))]);
        int[] tokens = [.. PromptTokens(prompt), .. _model.Tokenize(answerStart, addSpecial: false, parseSpecial: false)];
        Prefill(tokens, Steering.None, cancellation);
        var residuals = new float[tokens.Length * d];
        var last = new float[layers][];
        for (var l = 0; l < layers; l++)
        {
            _context.CopyCaptured(l, residuals);
            last[l] = residuals[^d..];
        }

        _context.SetCapture();
        return last;
    }

    /// <summary>Mean negative log-likelihood per token of a text given as ids, the first one only being context; nats.</summary>
    public double Loss(ReadOnlySpan<int> tokens, Steering steering, CancellationToken cancellation = default)
    {
        _context.SetVectors(steering.Vectors);
        Prefill(tokens.ToArray(), steering, cancellation, all: true);
        double sum = 0;
        for (var i = 1; i < tokens.Length; i++)
        {
            sum -= _context.LogProbs(i - 1, tokens.Slice(i, 1))[0];
        }

        return sum / (tokens.Length - 1);
    }

    /// <summary>Token ids of a question in the model's chat format, up to where the answer starts.</summary>
    public int[] PromptTokens(string prompt) => _model.TokenizeChat(_model.FormatChat([ChatMessage.User(prompt)]));

    /// <summary>Releases the context.</summary>
    public void Dispose() => _context.Dispose();

    private double[] Score(MultipleChoiceItem item, Steering steering, CancellationToken cancellation)
    {
        if (item.Options.Count > _sequences)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{item.Id} has {item.Options.Count} options, at most {_sequences} were asked for");
        }

        var prompt = PromptTokens(item.Prompt);
        Prefill(prompt, steering, cancellation);
        var logprobs = new double[item.Options.Count];
        var answers = item.Options.Select(option => (int[])[.. _model.Tokenize(option, addSpecial: false, parseSpecial: false), .. _turnEnd]).ToArray();
        var last = prompt.Length - 1;
        for (var o = 0; o < answers.Length; o++)
        {
            logprobs[o] = _context.LogProbs(last, [answers[o][0]])[0];
        }

        for (var o = 1; o < answers.Length; o++)
        {
            _context.Copy(0, o, 0, prompt.Length);
        }

        float[] strengths = [.. steering.Strengths];
        _batch.Clear(strengths.Length);
        var rows = new List<(int Option, int Row, int Next)>();
        for (var o = 0; o < answers.Length; o++)
        {
            for (var i = 0; i + 1 < answers[o].Length; i++)
            {
                rows.Add((o, _batch.Add(answers[o][i], prompt.Length + i, o, output: true, strengths), answers[o][i + 1]));
            }
        }

        _context.Decode(_batch, cancellation);
        foreach (var (option, row, next) in rows)
        {
            logprobs[option] += _context.LogProbs(row, [next])[0];
        }

        return logprobs;
    }

    private string Generate(string prompt, Steering steering, int limit, CancellationToken cancellation)
    {
        var tokens = PromptTokens(prompt);
        Prefill(tokens, steering, cancellation);
        float[] strengths = [.. steering.Strengths];
        var answer = new List<int>();
        var row = tokens.Length - 1;
        while (answer.Count < limit)
        {
            var logits = _context.Logits(row);
            var next = Array.IndexOf(logits, logits.Max());
            if (_model.IsEndOfGeneration(next))
            {
                break;
            }

            answer.Add(next);
            _batch.Clear(strengths.Length);
            row = _batch.Add(next, tokens.Length + answer.Count - 1, 0, output: true, strengths);
            _context.Decode(_batch, cancellation);
        }

        return _model.Detokenize([.. answer]);
    }

    private void Prefill(int[] tokens, Steering steering, CancellationToken cancellation, bool all = false)
    {
        _context.Remove(-1, 0);
        float[] strengths = [.. steering.Strengths];
        var none = new float[strengths.Length];
        _batch.Clear(strengths.Length);
        for (var i = 0; i < tokens.Length; i++)
        {
            var isBos = i == 0 && tokens[i] == _model.Info.BosToken;
            _batch.Add(tokens[i], i, 0, output: all || i == tokens.Length - 1, isBos ? none : strengths);
        }

        _context.Decode(_batch, cancellation);
    }

    /// <summary>The token that closes an answer, read off the template: what it writes after a known answer, up to the first token that ends a generation.</summary>
    private static int[] TurnEnd(LlamaModel model)
    {
        var open = model.TokenizeChat(model.FormatChat([ChatMessage.User("a")]));
        var closed = model.TokenizeChat(model.FormatChat([ChatMessage.User("a"), ChatMessage.Assistant("b")], addGenerationPrompt: false));
        var end = Array.FindIndex(closed, Math.Min(open.Length, closed.Length), model.IsEndOfGeneration);
        return end >= 0 ? [closed[end]] : model.Info.EosToken >= 0 ? [model.Info.EosToken] : [];
    }
}
