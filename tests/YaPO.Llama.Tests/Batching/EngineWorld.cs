using System.Text;
using YaPO.Llama.Batching;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Batching;

/// <summary>An answer read to its end.</summary>
internal sealed record ReadAnswer(string Text, IReadOnlyList<SampledToken> Tokens, AnswerSummary Summary)
{
    public static async Task<ReadAnswer> Of(RunningAnswer running, CancellationToken cancellation = default)
    {
        var text = new StringBuilder();
        var tokens = new List<SampledToken>();
        await foreach (var piece in running.ReadAsync(cancellation))
        {
            text.Append(piece.Text);
            tokens.AddRange(piece.LogProbs);
        }

        return new ReadAnswer(text.ToString(), tokens, running.Summary!);
    }
}

/// <summary>Short cuts for requests on the shipped demo model and its four vectors.</summary>
internal sealed class EngineWorld : IDisposable
{
    public static readonly string[] Cultures = ["egypt", "morocco", "portugal", "brazil"];

    private static readonly string[] Questions =
    [
        "What do people eat for breakfast?", "What do people drink in the morning?", "How do people greet each other?", "Which money do people pay with?",
        "What do people cook for a feast?", "What music do people like?", "What sport do people play?", "Where do people go on a free day?",
    ];

    public EngineWorld(string quantization = "f16")
    {
        var folder = Path.Combine(Repository.Root, "models", "demo");
        Model = LlamaModel.Load(Path.Combine(folder, $"demo-{quantization}.gguf"));
        Vectors = [.. Cultures.Select(name => SteeringSetting.Create(SteeringFile.Load(Path.Combine(folder, "vectors", $"{name}.ysv")).Vectors[0]).Vector)];
    }

    public LlamaModel Model { get; }

    public IReadOnlyList<AttachedVector> Vectors { get; }

    public BatchEngine Engine(BatchEngineOptions? options = null) =>
        new(Model, (options ?? new BatchEngineOptions()) with { Context = new ContextOptions { Threads = 1 } }, Vectors);

    public PromptTokens Ask(string question) => PromptTokens.Chat(Model, [ChatMessage.User(question)]);

    public SteeringSetting Steer(int vector, float strength, string positions = "all") => new(Vectors[vector], strength, SteeringPositions.Parse(positions));

    /// <summary>Request i of a mixed load: another vector, strength, place, question and length each; every ninth is not steered.</summary>
    public BatchRequest Mixed(int i)
    {
        string[] positions = ["all", "generated", "prompt", "assistant", "all+bos", "3-9"];
        SteeringSetting[] steering = i % 9 == 8 ? [] : [Steer(i % 4, 0.25f * ((i % 11) - 4), positions[i % positions.Length])];
        return new BatchRequest
        {
            Prompt = Ask(Questions[i % Questions.Length]),
            Steering = i % 7 == 6 ? [.. steering, Steer((i + 1) % 4, 0.5f)] : steering,
            Generation = new GenerationOptions { MaxTokens = 12 + (i % 13), Sampler = SamplerOptions.Greedy },
            TopLogProbs = 0,
        };
    }

    public void Dispose() => Model.Dispose();
}
