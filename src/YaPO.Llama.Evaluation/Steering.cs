using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Evaluation;

/// <summary>A way to move the model: vectors with strengths, words in the prompt, or nothing.</summary>
/// <param name="Settings">Attached vectors with strengths and positions.</param>
/// <param name="Prompt">
/// How every question is put instead: text in which <c>{prompt}</c> stands for the question, or text that goes in front of it; null: as it is.
/// </param>
public sealed record Steering(IReadOnlyList<SteeringSetting> Settings, string? Prompt = null)
{
    private const string Placeholder = "{prompt}";

    /// <summary>The model as it is.</summary>
    public static Steering None { get; } = new([]);

    /// <summary>One vector, by default at every position but BOS.</summary>
    public static Steering Of(AttachedVector vector, float strength, SteeringPositions? positions = null) => new([new SteeringSetting(vector, strength, positions ?? SteeringPositions.All)]);

    /// <summary>Words only.</summary>
    public static Steering Words(string prompt) => new([], prompt);

    /// <summary>A question as this way of steering puts it.</summary>
    public string Ask(string question) => Prompt is null ? question
        : Prompt.Contains(Placeholder, StringComparison.Ordinal) ? Prompt.Replace(Placeholder, question, StringComparison.Ordinal)
        : $"{Prompt} {question}";
}
