using System.Text.Json;
using System.Text.RegularExpressions;
using YaPO.Llama.IO;

namespace YaPO.Llama.Evaluation.Suites;

/// <summary>
/// Judges by words. A JSON file <c>{"measure": "..", "rules": [{"any": ["I cannot", ..], "none": [..], "regex": "..", "group": "..", "score": 1}, ..], "default": 0}</c>: the first rule
/// that applies gives the score. A rule applies where the answer holds one of <c>any</c> (whole words, whatever the case) and none of <c>none</c>, matches <c>regex</c>, and the item is of
/// <c>group</c>; conditions that are not given always hold.
/// </summary>
public sealed class RuleJudge : IJudge
{
    private const int MostRules = 1000;
    private readonly IReadOnlyList<Rule> _rules;
    private readonly double _default;

    private RuleJudge(string measure, IReadOnlyList<Rule> rules, double otherwise)
    {
        (Measure, _rules, _default) = (measure, rules, otherwise);
        IsShare = rules.Select(r => r.Score).Append(otherwise).All(s => s is 0 or 1);
    }

    /// <inheritdoc/>
    public string Measure { get; }

    /// <inheritdoc/>
    public string DetailMeasure => "";

    /// <inheritdoc/>
    public bool IsShare { get; }

    /// <summary>Reads rules.</summary>
    /// <exception cref="YapoException">Unreadable, or malformed: the rule is named.</exception>
    public static RuleJudge Load(string path)
    {
        using var stream = InputFile.Open(path);
        if (stream.Length > 1 << 20)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path} has {stream.Length} bytes; rules may have {1 << 20}");
        }

        try
        {
            using var document = JsonDocument.Parse(stream, new JsonDocumentOptions { MaxDepth = 8, CommentHandling = JsonCommentHandling.Skip });
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("rules", out var list) || list.ValueKind != JsonValueKind.Array || list.GetArrayLength() is 0 or > MostRules)
            {
                throw new YapoException(YapoErrorKind.Format, $"{path}: expected {{\"measure\", \"rules\": [{{\"any\", \"none\", \"regex\", \"group\", \"score\"}}, ..], \"default\"}} with 1 … {MostRules} rules");
            }

            var rules = list.EnumerateArray().Select((rule, i) => Read(rule, $"{path}, rule {i + 1}")).ToList();
            var measure = root.TryGetProperty("measure", out var name) && name.ValueKind == JsonValueKind.String ? name.GetString()! : "score by rules";
            return new RuleJudge(measure, rules, root.TryGetProperty("default", out var otherwise) ? Number(otherwise, $"{path}, default") : 0);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path}: this is no JSON: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<Judgement> Judge(IReadOnlyList<Answered> answers, CancellationToken cancellation = default) =>
        [.. answers.Select(a => new Judgement(_rules.FirstOrDefault(r => r.Applies(a))?.Score ?? _default))];

    private static Rule Read(JsonElement rule, string where)
    {
        if (rule.ValueKind != JsonValueKind.Object || !rule.TryGetProperty("score", out var score))
        {
            throw new YapoException(YapoErrorKind.Format, $"{where}: expected an object with a score");
        }

        var unknown = rule.EnumerateObject().FirstOrDefault(p => p.Name is not ("any" or "none" or "regex" or "group" or "score"));
        if (unknown.Value.ValueKind != JsonValueKind.Undefined)
        {
            throw new YapoException(YapoErrorKind.Format, $"{where}: '{unknown.Name}' is unknown; expected any, none, regex, group, score");
        }

        return new Rule(Words(rule, "any", where), Words(rule, "none", where), Pattern(rule, where), Text(rule, "group", where), Number(score, where + ", score"));
    }

    private static string[]? Words(JsonElement rule, string field, string where) => !rule.TryGetProperty(field, out var value) ? null
        : value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(w => w.ValueKind == JsonValueKind.String && w.GetString()!.Length > 0) ? [.. value.EnumerateArray().Select(w => w.GetString()!)]
        : throw new YapoException(YapoErrorKind.Format, $"{where}: '{field}' must be a list of texts that are not empty");

    private static Regex? Pattern(JsonElement rule, string where)
    {
        if (Text(rule, "regex", where) is not { } pattern)
        {
            return null;
        }

        try
        {
            // Without backtracking the time grows with the text alone, whatever the pattern.
            return new Regex(pattern, RegexOptions.NonBacktracking | RegexOptions.IgnoreCase | RegexOptions.CultureInvariant);
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            throw new YapoException(YapoErrorKind.Format, $"{where}: regex '{pattern}' cannot be used: {e.Message}", e);
        }
    }

    private static string? Text(JsonElement rule, string field, string where) => !rule.TryGetProperty(field, out var value) ? null
        : value.ValueKind == JsonValueKind.String ? value.GetString() : throw new YapoException(YapoErrorKind.Format, $"{where}: '{field}' must be a text");

    private static double Number(JsonElement value, string where) => value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && double.IsFinite(number)
        ? number : throw new YapoException(YapoErrorKind.Format, $"{where}: expected a number");

    private sealed record Rule(string[]? Any, string[]? None, Regex? Pattern, string? Group, double Score)
    {
        public bool Applies(Answered answered) =>
            (Group is null || Group == answered.Group)
            && (Any is null || Any.Any(w => ChoiceResults.Holds(answered.Answer, w)))
            && (None is null || !None.Any(w => ChoiceResults.Holds(answered.Answer, w)))
            && (Pattern is null || Pattern.IsMatch(answered.Answer));
    }
}
