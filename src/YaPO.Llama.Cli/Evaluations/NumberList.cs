using System.CommandLine.Parsing;
using System.Globalization;

namespace YaPO.Llama.Cli.Evaluations;

/// <summary>Option values such as "0.2,0.3,0.5".</summary>
internal static class NumberList
{
    /// <summary>Reads finite numbers separated by commas; anything else is wrong usage.</summary>
    public static double[] Parse(ArgumentResult result)
    {
        var numbers = new List<double>();
        foreach (var text in result.Tokens.SelectMany(t => t.Value.Split(',', StringSplitOptions.TrimEntries)))
        {
            if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number))
            {
                numbers.Add(number);
            }
            else
            {
                result.AddError($"'{text}' is no number; expected numbers separated by commas, such as 0.25,0.5,1");
                return [];
            }
        }

        return [.. numbers];
    }
}
