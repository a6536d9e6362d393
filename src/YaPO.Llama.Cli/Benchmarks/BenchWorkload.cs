using YaPO.Llama.Batching;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Benchmarks;

/// <summary>
/// What every arm of the benchmark does in a round: so many requests at once, each with a prompt of its own that was never seen before (or the engine's
/// cache would answer) and an answer of fixed length, greedy.
/// </summary>
internal sealed class BenchWorkload(LlamaModel model, int requests, int promptTokens, int answerTokens, ContextOptions context)
{
    private readonly int[] words = [.. Enumerable.Range(0, model.Info.VocabularySize).Where(id => !model.IsControl(id) && !model.IsEndOfGeneration(id))];

    public LlamaModel Model => model;

    public int Requests => requests;

    public int AnswerTokens => answerTokens;

    /// <summary>Tokens generated in a round.</summary>
    public int Tokens => requests * answerTokens;

    /// <summary>Cells for one round; all prompts fit into one batch.</summary>
    public ContextOptions Context => context with { ContextSize = requests * (promptTokens + answerTokens), Sequences = requests, BatchSize = Math.Max(512, requests * promptTokens) };

    /// <summary>The engine with exactly the same room.</summary>
    public BatchEngineOptions Engine => new()
    {
        Slots = requests,
        RequestTokens = promptTokens + answerTokens,
        Cells = requests * (promptTokens + answerTokens),
        Context = Context,
    };

    public GenerationOptions Generation => new() { MaxTokens = answerTokens, IgnoreEnd = true, Sampler = SamplerOptions.Greedy };

    /// <summary>The prompt of a request; the same for every arm in a round.</summary>
    public int[] Prompt(int round, int request)
    {
        var random = new Random((round * 1009) + request);
        var ids = Enumerable.Range(0, promptTokens).Select(_ => words[random.Next(words.Length)]).ToArray();
        if (model.Info.AddsBos)
        {
            ids[0] = model.Info.BosToken;
        }

        return ids;
    }
}
