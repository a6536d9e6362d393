namespace YaPO.Llama.Evaluation.Suites;

/// <summary>A question with what the model answered.</summary>
/// <param name="Question">The last user turn, as the data has it.</param>
/// <param name="Answer">What was generated.</param>
/// <param name="Group">The item's group; empty without one.</param>
public sealed record Answered(string Question, string Answer, string Group);

/// <summary>What a judge says.</summary>
/// <param name="Score">On the judge's scale.</param>
/// <param name="Detail">A finer or coarser figure beside it; null without one.</param>
public sealed record Judgement(double Score, double? Detail = null);

/// <summary>Gives every answer a score.</summary>
public interface IJudge
{
    /// <summary>For people: what a score is.</summary>
    string Measure { get; }

    /// <summary>What <see cref="Judgement.Detail"/> is; empty without one.</summary>
    string DetailMeasure { get; }

    /// <summary>Whether scores are 0 or 1.</summary>
    bool IsShare { get; }

    /// <summary>Judges answers, in order.</summary>
    IReadOnlyList<Judgement> Judge(IReadOnlyList<Answered> answers, CancellationToken cancellation = default);
}
