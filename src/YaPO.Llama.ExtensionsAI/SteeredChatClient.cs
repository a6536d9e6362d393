using System.Runtime.CompilerServices;
using Microsoft.Extensions.AI;
using YaPO.Llama.Batching;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;

namespace YaPO.Llama.ExtensionsAI;

/// <summary>
/// A local model as an <see cref="IChatClient"/>. Requests of any thread run side by side in one <see cref="BatchEngine"/>, each with its own vectors and
/// strengths (<see cref="ChatOptionsSteering.Steer"/>).
/// </summary>
/// <remarks>
/// Options that would need tools or structured output are refused with <see cref="NotSupportedException"/>. Sampling that the options leave open follows
/// <see cref="SamplerOptions"/>, with a random seed. A full queue is <see cref="RequestRefusedException"/>.
/// </remarks>
public sealed class SteeredChatClient : IChatClient
{
    private const int DefaultMaxTokens = 512;

    private readonly LlamaModel model;
    private readonly BatchEngine engine;
    private readonly PromptEncoder encoder;
    private readonly Dictionary<string, IReadOnlyList<SteeringSetting>> vectors;
    private readonly ChatClientMetadata metadata;

    private SteeredChatClient(LlamaModel model, BatchEngine engine, PromptEncoder encoder, Dictionary<string, IReadOnlyList<SteeringSetting>> vectors)
    {
        (this.model, this.engine, this.encoder, this.vectors) = (model, engine, encoder, vectors);
        metadata = new ChatClientMetadata("yapo-llama", defaultModelId: Path.GetFileNameWithoutExtension(model.Path));
    }

    /// <summary>Loads a model and the vectors that requests may use.</summary>
    /// <param name="modelPath">A GGUF file.</param>
    /// <param name="vectorFiles">Name → <c>.ysv</c> file; null: none.</param>
    /// <param name="engineOptions">Slots, sizes, threads; null: defaults.</param>
    /// <param name="modelOptions">Device and the like; null: defaults.</param>
    /// <exception cref="YapoException">Something is missing or malformed, or a vector was made for another model.</exception>
    public static SteeredChatClient Load(
        string modelPath, IReadOnlyDictionary<string, string>? vectorFiles = null, BatchEngineOptions? engineOptions = null, ModelOptions? modelOptions = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(modelPath);
        var locator = new ModelLocator([]);
        var sources = (vectorFiles ?? new Dictionary<string, string>()).ToDictionary(v => v.Key, v => SteeringSource.Load(new VectorSpec(v.Value), locator));
        if (sources.Count > 0)
        {
            var identity = locator.Identify(modelPath);
            foreach (var source in sources.Values)
            {
                source.RequireFits(modelPath, identity);
            }
        }

        var vectors = sources.ToDictionary(s => s.Key, s => s.Value.Settings);
        var model = LlamaModel.Load(modelPath, modelOptions);
        PromptEncoder? encoder = null;
        try
        {
            encoder = new PromptEncoder(modelPath);
            var engine = new BatchEngine(model, engineOptions, [.. vectors.Values.SelectMany(v => v).Select(s => s.Vector)]);
            return new SteeredChatClient(model, engine, encoder, vectors);
        }
        catch
        {
            encoder?.Dispose();
            model.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    /// <inheritdoc/>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var answer = engine.Submit(Request(messages, options ?? new ChatOptions()));
        var id = Guid.NewGuid().ToString("N");
        var created = DateTimeOffset.UtcNow;
        ChatResponseUpdate Update(params AIContent[] contents) => new(ChatRole.Assistant, contents) { ResponseId = id, MessageId = id, CreatedAt = created, ModelId = metadata.DefaultModelId };
        await foreach (var piece in answer.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            if (piece.Text.Length > 0)
            {
                yield return Update(new TextContent(piece.Text));
            }
        }

        cancellationToken.ThrowIfCancellationRequested(); // also where the last piece came before the engine noticed
        var summary = answer.Summary!;
        var last = Update(new UsageContent(new UsageDetails
        {
            InputTokenCount = summary.PromptTokens,
            OutputTokenCount = summary.GeneratedTokens,
            TotalTokenCount = summary.PromptTokens + summary.GeneratedTokens,
            CachedInputTokenCount = summary.CachedTokens,
        }));
        last.FinishReason = summary.Finish == FinishReason.Length ? ChatFinishReason.Length : ChatFinishReason.Stop;
        yield return last;
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType.IsInstanceOfType(this) ? this
            : serviceType.IsInstanceOfType(metadata) ? metadata
            : serviceType.IsInstanceOfType(engine) ? engine
            : null;
    }

    /// <summary>Cancels what runs and releases the model.</summary>
    public void Dispose()
    {
        engine.DisposeAsync().AsTask().GetAwaiter().GetResult();
        encoder.Dispose();
        model.Dispose();
    }

    private BatchRequest Request(IEnumerable<ChatMessage> messages, ChatOptions options)
    {
        if (options.Tools is { Count: > 0 })
        {
            throw new NotSupportedException("this client calls no tools; leave ChatOptions.Tools empty");
        }

        if (options.ResponseFormat is ChatResponseFormatJson)
        {
            throw new NotSupportedException("this client cannot be held to JSON; leave ChatOptions.ResponseFormat out");
        }

        var conversation = messages.Select(Message).ToList();
        if (options.Instructions is { Length: > 0 } instructions)
        {
            conversation.Insert(0, Models.ChatMessage.System(instructions));
        }

        var sampler = new SamplerOptions();
        var penalties = (options.FrequencyPenalty ?? 0) != 0 || (options.PresencePenalty ?? 0) != 0;
        return new BatchRequest
        {
            Prompt = encoder.Chat(conversation),
            Steering = [.. options.Steering().SelectMany(Settings)],
            Stop = [.. options.StopSequences ?? []],
            Generation = new GenerationOptions
            {
                MaxTokens = options.MaxOutputTokens ?? DefaultMaxTokens,
                Sampler = sampler with
                {
                    Seed = options.Seed is { } seed ? (uint)(seed ^ (seed >> 32)) : (uint)Random.Shared.NextInt64(uint.MaxValue),
                    Temperature = options.Temperature ?? sampler.Temperature,
                    TopP = options.TopP ?? sampler.TopP,
                    TopK = options.TopK ?? sampler.TopK,
                    FrequencyPenalty = options.FrequencyPenalty ?? 0,
                    PresencePenalty = options.PresencePenalty ?? 0,
                    PenaltyWindow = penalties ? 1 << 16 : sampler.PenaltyWindow,
                },
            },
        };
    }

    private IEnumerable<SteeringSetting> Settings(ChatSteering steering) => vectors.TryGetValue(steering.Vector, out var settings)
        ? settings.Select(s => s with { Strength = steering.Strength ?? s.Strength, Positions = steering.Positions ?? s.Positions })
        : throw new ArgumentException($"there is no vector '{steering.Vector}'; this client has {(vectors.Count == 0 ? "none" : string.Join(", ", vectors.Keys))}", nameof(steering));

    private static Models.ChatMessage Message(ChatMessage message)
    {
        if (message.Contents.FirstOrDefault(c => c is not TextContent) is { } other)
        {
            throw new NotSupportedException($"this client reads text only, found {other.GetType().Name}");
        }

        var role = message.Role == ChatRole.User ? Models.ChatMessage.UserRole
            : message.Role == ChatRole.Assistant ? Models.ChatMessage.AssistantRole
            : message.Role == ChatRole.System ? Models.ChatMessage.SystemRole
            : throw new NotSupportedException($"role '{message.Role}' is not supported; expected user, assistant or system");
        return new Models.ChatMessage(role, message.Text);
    }
}
