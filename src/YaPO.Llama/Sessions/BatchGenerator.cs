using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sessions;

/// <summary>A prompt to continue.</summary>
/// <param name="Prompt">Token ids, at least one.</param>
/// <param name="Seed">Of this answer's own sampler; greedy sampling ignores it.</param>
public sealed record BatchPrompt(IReadOnlyList<int> Prompt, uint Seed = 0);

/// <summary>What a prompt was continued with.</summary>
/// <param name="Text">Without control tokens.</param>
/// <param name="Tokens">The sampled ids without the one that ended the answer.</param>
/// <param name="Finish"><see cref="FinishReason.Stop"/> or <see cref="FinishReason.Length"/>.</param>
public sealed record BatchAnswer(string Text, IReadOnlyList<int> Tokens, FinishReason Finish);

/// <summary>
/// Answers many prompts at once, one sequence each, one token of every unfinished answer per decode. Which prompts share a decode follows from
/// their order alone (<see cref="GroupSize"/> at a time), so the same list gives the same text, and so does any tail of it that starts at a
/// multiple of the group size. Alone, an answer may differ where two tokens are equally likely to rounding.
/// </summary>
public sealed class BatchGenerator
{
    private readonly LlamaContext context;
    private readonly DecodeBatch batch = new();

    /// <summary>Generates on a context that stays the caller's; whatever it holds is dropped.</summary>
    /// <param name="context">Where.</param>
    /// <param name="together">Prompts answered together; 0: the context's sequences.</param>
    public BatchGenerator(LlamaContext context, int together = 0)
    {
        ArgumentNullException.ThrowIfNull(context);
        this.context = context;
        GroupSize = together > 0 ? Math.Min(together, context.SequenceLimit) : context.SequenceLimit;
    }

    /// <summary>Prompts that are answered together.</summary>
    public int GroupSize { get; }

    /// <summary>Tokens computed since the beginning, prompts included.</summary>
    public long EvaluatedTokens { get; private set; }

    /// <summary>KV cells that these prompts need at worst.</summary>
    /// <exception cref="YapoException">More than there can be.</exception>
    public static int CellsFor(IReadOnlyList<BatchPrompt> prompts, int groupSize, int maxTokens)
    {
        var cells = prompts.Chunk(groupSize).Max(group => group.Sum(p => (long)p.Prompt.Count + maxTokens));
        return cells <= int.MaxValue ? (int)cells : throw new YapoException(
            YapoErrorKind.InvalidArgument, $"answers of up to {maxTokens} tokens, {groupSize} at a time, need {cells} KV cells, at most {int.MaxValue} can be had: ask for shorter answers (-n), or for fewer at a time (--parallel)");
    }

    /// <summary>Answers prompts in order, a group at a time.</summary>
    /// <param name="prompts">What to answer.</param>
    /// <param name="steering">What acts where; prompts and answers have the roles of a conversation.</param>
    /// <param name="options">Length and sampling; the seed comes from each prompt.</param>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <exception cref="YapoException">A prompt without tokens, or a group that does not fit into the context.</exception>
    public IEnumerable<BatchAnswer> Generate(
        IEnumerable<BatchPrompt> prompts, IReadOnlyList<SteeringSetting> steering, GenerationOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(prompts);
        ArgumentNullException.ThrowIfNull(steering);
        ArgumentNullException.ThrowIfNull(options);
        var done = 0;
        foreach (var group in prompts.Chunk(GroupSize))
        {
            if (!steering.Select(s => s.Vector).SequenceEqual(context.Vectors, ReferenceEqualityComparer.Instance))
            {
                context.SetVectors([.. steering.Select(s => s.Vector)]);
            }

            foreach (var answer in Generate(group, done, steering, options, cancellation))
            {
                yield return answer;
            }

            done += group.Length;
        }
    }

    private List<BatchAnswer> Generate(BatchPrompt[] group, int first, IReadOnlyList<SteeringSetting> steering, GenerationOptions options, CancellationToken cancellation)
    {
        var runs = new List<Run>(group.Length);
        try
        {
            for (var i = 0; i < group.Length; i++)
            {
                runs.Add(new Run(i, context.Model, group[i], options, first + i));
            }

            context.Remove(-1, 0);
            batch.Clear(steering.Count);
            foreach (var run in runs)
            {
                for (var position = 0; position < run.Prompt.Count; position++)
                {
                    var last = position == run.Prompt.Count - 1;
                    Add(run, run.Prompt[position], position, last, steering);
                    if (batch.Count == context.BatchSize)
                    {
                        Decode(runs, cancellation);
                    }
                }
            }

            Decode(runs, cancellation);
            while (runs.Any(r => r.Finish is null))
            {
                foreach (var run in runs.Where(r => r.Finish is null))
                {
                    Add(run, new SequenceToken(run.Answer[^1], TokenRole.Answer), run.Prompt.Count + run.Answer.Count - 1, output: true, steering);
                    if (batch.Count == context.BatchSize)
                    {
                        Decode(runs, cancellation);
                    }
                }

                Decode(runs, cancellation);
            }

            return [.. runs.Select(r => new BatchAnswer(context.Model.Detokenize([.. r.Answer]), r.Answer, r.Finish!.Value))];
        }
        finally
        {
            runs.ForEach(r => r.Dispose());
        }
    }

    private void Add(Run run, SequenceToken token, int position, bool output, IReadOnlyList<SteeringSetting> steering)
    {
        Span<float> strengths = steering.Count <= 64 ? stackalloc float[steering.Count] : new float[steering.Count];
        for (var i = 0; i < strengths.Length; i++)
        {
            strengths[i] = steering[i].At(position, token.Role);
        }

        var row = batch.Add(token.Id, position, run.Sequence, output, strengths);
        run.Row = output ? row : run.Row;
    }

    /// <summary>Evaluates what is queued and samples where logits were asked for.</summary>
    private void Decode(List<Run> runs, CancellationToken cancellation)
    {
        if (batch.Count == 0)
        {
            return;
        }

        context.Decode(batch, cancellation);
        EvaluatedTokens += batch.Count;
        foreach (var run in runs.Where(r => r.Row >= 0))
        {
            run.Sample(context);
        }

        batch.Clear();
    }

    /// <summary>One answer on its way.</summary>
    private sealed class Run : IDisposable
    {
        private readonly LlamaModel model;
        private readonly Sampler sampler;
        private readonly int limit;

        public Run(int sequence, LlamaModel model, BatchPrompt prompt, GenerationOptions options, int index)
        {
            if (prompt.Prompt.Count == 0)
            {
                throw new YapoException(YapoErrorKind.InvalidArgument, $"prompt {index} has no token to continue; give at least BOS");
            }

            (Sequence, this.model, limit) = (sequence, model, options.MaxTokens);
            Prompt = Conversation.RawTokens(model, [.. prompt.Prompt]);
            sampler = new Sampler(model, options.Sampler with { Seed = prompt.Seed });
        }

        public int Sequence { get; }

        public List<SequenceToken> Prompt { get; }

        public List<int> Answer { get; } = [];

        /// <summary>Row of the batch being built whose logits continue this answer; −1: none.</summary>
        public int Row { get; set; } = -1;

        public FinishReason? Finish { get; private set; }

        public void Sample(LlamaContext context)
        {
            var id = sampler.Sample(context, Row);
            Row = -1;
            if (model.IsEndOfGeneration(id))
            {
                Finish = FinishReason.Stop;
                return;
            }

            Answer.Add(id);
            Finish = Answer.Count >= limit ? FinishReason.Length : null;
        }

        public void Dispose() => sampler.Dispose();
    }
}
