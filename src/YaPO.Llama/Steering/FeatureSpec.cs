using System.Globalization;

namespace YaPO.Llama.Steering;

/// <summary>
/// One feature of a hand-made vector: <c>INDEX:+VALUE</c> (an amount added to its activation) or <c>INDEX:2xmax</c> (that many times the
/// largest activation seen of it).
/// </summary>
/// <param name="Index">Feature number.</param>
/// <param name="Amount">The value, or the factor of the maximum.</param>
/// <param name="TimesMax">Whether <paramref name="Amount"/> is a factor.</param>
public readonly record struct FeatureSpec(int Index, float Amount, bool TimesMax = false)
{
    /// <summary>Reads one.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/>.</exception>
    public static FeatureSpec Parse(string text)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        if (colon > 0 && int.TryParse(text.AsSpan(0, colon), NumberStyles.None, CultureInfo.InvariantCulture, out var index))
        {
            var amount = text.AsSpan(colon + 1);
            var timesMax = amount.EndsWith("xmax", StringComparison.Ordinal);
            if (float.TryParse(timesMax ? amount[..^4] : amount, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && float.IsFinite(value) && value != 0)
            {
                return new FeatureSpec(index, value, timesMax);
            }
        }

        throw new YapoException(YapoErrorKind.InvalidArgument, $"'{text}' is no feature; expected INDEX:+VALUE such as 12345:+40, or INDEX:2xmax");
    }
}
