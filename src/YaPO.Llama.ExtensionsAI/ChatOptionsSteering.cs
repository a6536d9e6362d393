using Microsoft.Extensions.AI;
using YaPO.Llama.Steering;

namespace YaPO.Llama.ExtensionsAI;

/// <summary>A vector of a <see cref="SteeredChatClient"/> as a request names it.</summary>
/// <param name="Vector">The name that the client was given for it.</param>
/// <param name="Strength">λ; null: its default. 0 leaves the model as it is.</param>
/// <param name="Positions">Where it acts; null: its default.</param>
public sealed record ChatSteering(string Vector, float? Strength = null, SteeringPositions? Positions = null);

/// <summary>Steering in the options of a chat.</summary>
public static class ChatOptionsSteering
{
    /// <summary>The key in <see cref="ChatOptions.AdditionalProperties"/>: a list of <see cref="ChatSteering"/>.</summary>
    public const string Key = "steering";

    /// <summary>Adds a vector to those that steer the answer. An options object without any is not steered.</summary>
    /// <returns>The same options.</returns>
    public static ChatOptions Steer(this ChatOptions options, string vector, float? strength = null, SteeringPositions? positions = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentException.ThrowIfNullOrEmpty(vector);

        // A new list each time: cloned options share the values of this dictionary.
        (options.AdditionalProperties ??= [])[Key] = new List<ChatSteering>([.. options.Steering(), new ChatSteering(vector, strength, positions)]);
        return options;
    }

    /// <summary>What steers the answer.</summary>
    public static IReadOnlyList<ChatSteering> Steering(this ChatOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return options.AdditionalProperties?.TryGetValue(Key, out var value) != true ? []
            : value as IReadOnlyList<ChatSteering> ?? throw new ArgumentException($"AdditionalProperties[\"{Key}\"] is {value?.GetType().Name ?? "null"}, expected a list of {nameof(ChatSteering)}", nameof(options));
    }
}
