using System.Globalization;

namespace YaPO.Llama.Evaluation.Reports.Pages;

/// <summary>Numbers as pages show them: shares in per cent, others with four significant digits.</summary>
internal readonly record struct Numbers(bool IsShare)
{
    public string Show(double value) => IsShare ? string.Create(CultureInfo.InvariantCulture, $"{100 * value:0.0} %") : Short(value);

    public string Signed(double value) => (value > 0 ? "+" : "") + Show(value);

    public string Show(Interval? x) => x is null ? "" : IsShare
        ? string.Create(CultureInfo.InvariantCulture, $"{100 * x.Value:0.0} % [{100 * x.Low:0.0}, {100 * x.High:0.0}]")
        : $"{Short(x.Value)} [{Short(x.Low)}, {Short(x.High)}]";

    public string Signed(Interval? x) => x is null ? "" : (x.Value > 0 ? "+" : "") + Show(x);

    public static string Short(double? value) => value?.ToString("0.####", CultureInfo.InvariantCulture) ?? "";

    /// <summary>Names that a chart can tell apart: the second "a" becomes "a (2)".</summary>
    public static IEnumerable<string> Distinct(IEnumerable<string> names)
    {
        var seen = new Dictionary<string, int>();
        foreach (var name in names)
        {
            seen[name] = seen.GetValueOrDefault(name) + 1;
            yield return seen[name] == 1 ? name : $"{name} ({seen[name]})";
        }
    }
}
