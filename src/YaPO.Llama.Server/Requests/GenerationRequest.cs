using System.Text.Json;
using YaPO.Llama.Batching;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Server.Vectors;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Server.Requests;

/// <summary>What chat and text completions have in common, read and checked.</summary>
internal sealed record GenerationRequest
{
    private const int NameLimit = 256;
    private const int StopLimit = 16;

    public required string? Model { get; init; }

    public required IReadOnlyList<SteeringSetting> Steering { get; init; }

    public required GenerationOptions Generation { get; init; }

    public required bool SeedGiven { get; init; }

    public required IReadOnlyList<string> Stop { get; init; }

    /// <summary>n.</summary>
    public required int Choices { get; init; }

    public required bool Stream { get; init; }

    public required bool IncludeUsage { get; init; }

    /// <summary>Likeliest tokens to return at each position; null: no log-probabilities.</summary>
    public int? TopLogProbs { get; init; }

    /// <summary>Reads everything but the prompt and the log-probabilities, whose fields differ.</summary>
    public static GenerationRequest Read(Fields body, ServerOptions options, VectorCatalog vectors)
    {
        body.Refuse("tools", v => v.ValueKind == JsonValueKind.Array && v.GetArrayLength() == 0);
        body.Refuse("functions", v => v.ValueKind == JsonValueKind.Array && v.GetArrayLength() == 0);
        body.Refuse("logit_bias", v => v.ValueKind == JsonValueKind.Object && !v.EnumerateObject().Any());
        body.Refuse("response_format", v => v.ValueKind == JsonValueKind.Object && v.TryGetProperty("type", out var type) && type.ValueKind == JsonValueKind.String && type.ValueEquals("text"));
        var model = body.Text("model", NameLimit);
        var seed = body.Seed("seed");
        var frequency = body.Number("frequency_penalty", -2, 2) ?? 0;
        var presence = body.Number("presence_penalty", -2, 2) ?? 0;
        var stream = body.Flag("stream");
        var usage = body["stream_options"] is { } streamOptions && new Fields(streamOptions, "stream_options").Flag("include_usage");
        var defaults = new SamplerOptions();
        return new GenerationRequest
        {
            Model = model,
            Steering = vectors.Settings(model, ReadSteering(body, options)),
            Generation = new GenerationOptions
            {
                MaxTokens = body.Integer("max_completion_tokens", 1, int.MaxValue) ?? body.Integer("max_tokens", 1, int.MaxValue) ?? options.DefaultMaxTokens,
                IgnoreEnd = body.Flag("ignore_eos"),
                Sampler = defaults with
                {
                    Seed = seed ?? (uint)Random.Shared.NextInt64(uint.MaxValue),
                    Temperature = body.Number("temperature", 0, 2) ?? defaults.Temperature,
                    TopP = body.Number("top_p", 0, 1) ?? defaults.TopP,
                    TopK = body.Integer("top_k", 0, int.MaxValue) ?? defaults.TopK,
                    MinP = body.Number("min_p", 0, 1) ?? defaults.MinP,
                    RepeatPenalty = body.Number("repeat_penalty", 0.01, 100) ?? defaults.RepeatPenalty,
                    FrequencyPenalty = frequency,
                    PresencePenalty = presence,

                    // OpenAI's penalties look back on the whole answer, llama.cpp's repeat penalty on the last 64 tokens.
                    PenaltyWindow = frequency != 0 || presence != 0 ? 1 << 16 : defaults.PenaltyWindow,
                },
            },
            SeedGiven = seed is not null,
            Stop = ReadStop(body),
            Choices = body.Integer("n", 1, options.ChoiceLimit) ?? 1,
            Stream = stream,
            IncludeUsage = usage,
        };
    }

    /// <summary>The request of one answer; answers to one prompt differ in their seeds.</summary>
    public BatchRequest ForEngine(PromptTokens prompt, int choice, string client) => new()
    {
        Prompt = prompt,
        Steering = Steering,
        Generation = Generation with { Sampler = Generation.Sampler with { Seed = Generation.Sampler.Seed + (uint)choice } },
        Stop = Stop,
        TopLogProbs = TopLogProbs,
        Client = client,
    };

    /// <summary>The vectors that a body names; null where it says nothing about steering.</summary>
    public static IReadOnlyList<RequestedSteering>? ReadSteering(Fields body, ServerOptions options) =>
        body.List("steering", Math.Max(64, options.Vectors.Count))?.Select(item =>
        {
            var fields = new Fields(item.Value, item.Path);
            var name = fields.Text("vector", NameLimit) ?? throw ApiException.Bad(fields.Path("vector"), $"{fields.Path("vector")} is missing: name a vector of /v1/steering/vectors");
            var positions = fields.Text("positions", NameLimit);
            if (positions is not null && !SteeringPositions.TryParse(positions, out _))
            {
                throw ApiException.Bad(
                    fields.Path("positions"),
                    $"{fields.Path("positions")} must be all, all+bos, prompt, generated, assistant, or START-END such as 0-15 (zero-based, END included)");
            }

            return new RequestedSteering(name, fields.Number("strength", -float.MaxValue, float.MaxValue), positions is null ? null : SteeringPositions.Parse(positions));
        }).ToList();

    private static List<string> ReadStop(Fields body)
    {
        if (body["stop"] is not { } stop)
        {
            return [];
        }

        var stops = stop.ValueKind == JsonValueKind.String
            ? [Fields.Text(stop, "stop", NameLimit)]
            : body.List("stop", StopLimit)!.Select(item => Fields.Text(item.Value, item.Path, NameLimit)).ToList();
        return stops.All(s => s.Length > 0) ? stops : throw ApiException.Bad("stop", "a stop text is empty");
    }
}
