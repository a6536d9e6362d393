using Spectre.Console;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Inspection;

namespace YaPO.Llama.Cli.Inspect;

/// <summary>The report for a person: the text coloured by activation, then tables. Without a terminal, tables only.</summary>
internal static class InspectText
{
    private const int PerToken = 3;

    // From no activation to the text's largest: pale yellow to dark red, dark letters while the ground is light.
    private static readonly (byte R, byte G, byte B)[] Heat = [(255, 247, 188), (254, 196, 79), (236, 112, 20), (204, 76, 2), (140, 45, 4)];

    public static void Write(CommandConsole console, InspectReport report, FeatureNames names)
    {
        if (report.Tokens.Count > 0)
        {
            Text(console, report);
            console.Out.WriteLine($"features of the text, by Σ z · ‖W_dec‖ (layer {report.Sae.Info.Layer}, BOS left out)");
            console.WriteTable(
                ["feature", "tokens", "largest", "at", "label", "promotes"],
                report.Features.Select(f => new[]
                {
                    $"{f.Feature}", $"{f.Firing}", Number(f.Max), $"{f.Peak.Position} {Visible(f.Peak.Text)}", names.Label(f.Feature) ?? "", Promotes(names, f.Feature),
                }));
            console.WriteTable(
                ["token", "text", "active", "strongest features"],
                report.Tokens.Select(t => new[]
                {
                    $"{t.Position}", Visible(t.Text), t.IsBos ? "" : $"{t.Active.Count}",
                    t.IsBos ? "(BOS)" : string.Join(", ", t.Active.Take(Math.Min(PerToken, report.Top)).Select(a => $"{a.Feature}: {Number(a.Activation)}")),
                }));
        }

        if (report.Feature is { } feature)
        {
            Feature(console, report, feature, names);
        }

        foreach (var effect in report.Effects)
        {
            Effect(console, report, effect, names);
        }
    }

    private static void Feature(CommandConsole console, InspectReport report, int feature, FeatureNames names)
    {
        console.WriteList(
        [
            ("feature", $"{feature} of {report.Sae.Path}"),
            ("label", names.Label(feature)),
            ("promotes", Promotes(names, feature) is { Length: > 0 } tokens ? tokens : null),
            ("fires on", report.Snippets is { } s ? $"{s.Firing} of {s.Tokens} tokens, at most {Number(s.Max)}" : null),
        ]);
        foreach (var snippet in report.Snippets?.Snippets ?? [])
        {
            console.Out.Write($"{Number(snippet.Activation),8}  ");
            Heated(console, snippet.Tokens.Select((t, i) => (t.Text, t.Activation, i == snippet.Peak)), report.Snippets!.Max);
        }
    }

    private static void Effect(CommandConsole console, InspectReport report, VectorEffect effect, FeatureNames names)
    {
        console.Out.WriteLine(
            $"{string.Join(" + ", effect.Names)}, layer {effect.Layer}: steers {effect.SteeredTokens} tokens, mean ‖Δh‖/‖h‖ {Number(effect.RelativeChange)}"
            + (effect.Features.Count > 0 ? $"; the {Math.Min(report.Top, effect.Features.Count)} of {effect.Features.Count} entries with the largest effect, acting × |c| × ‖W_dec‖" : ""));
        if (effect.Features.Count == 0)
        {
            return;
        }

        var known = report.InThisSae(effect);
        console.WriteTable(
            ["feature", "value", "fires on", "acts on", "mean c", "effect", "label", "promotes"],
            effect.Features.Take(report.Top).Select(f => new[]
            {
                $"{f.Feature}", Signed(f.Value), Percent(f.Firing), Percent(f.Acting), Signed(f.MeanChange), Number(f.Effect),
                known ? names.Label(f.Feature) ?? "" : "", known ? Promotes(names, f.Feature) : "",
            }));
    }

    // Each token on a ground that says how strongly it fires: one feature, or the strongest of all.
    private static void Text(CommandConsole console, InspectReport report)
    {
        float Strength(TokenFeatures t) => t.IsBos ? 0 : report.Feature is { } one ? t.Activation(one) : t.Active.Count > 0 ? t.Active[0].Activation : 0;
        Heated(console, report.Tokens.Where(t => !t.IsBos).Select(t => (t.Text, Strength(t), false)), report.Tokens.Max(Strength));
        console.Out.WriteLine();
    }

    private static void Heated(CommandConsole console, IEnumerable<(string Text, float Activation, bool Peak)> tokens, float max)
    {
        if (!console.IsOutputInteractive)
        {
            console.Out.WriteLine(string.Concat(tokens.Select(t => t.Peak ? $"[[{OneLine(t.Text)}]]" : OneLine(t.Text))));
            return;
        }

        var paragraph = new Paragraph();
        foreach (var (text, activation, _) in tokens)
        {
            paragraph.Append(OneLine(text), activation > 0 && max > 0 ? Ground(activation / max) : Style.Plain);
        }

        console.Ansi().Write(paragraph);
        console.Out.WriteLine();
    }

    private static Style Ground(float share)
    {
        var place = Math.Clamp(share, 0, 1) * (Heat.Length - 1);
        var i = Math.Min((int)place, Heat.Length - 2);
        byte Mix(byte a, byte b) => (byte)(a + ((b - a) * (place - i)));
        var ground = new Color(Mix(Heat[i].R, Heat[i + 1].R), Mix(Heat[i].G, Heat[i + 1].G), Mix(Heat[i].B, Heat[i + 1].B));
        return new Style(share < 0.55 ? Color.Black : Color.White, ground);
    }

    private static string Promotes(FeatureNames names, int feature) => string.Join(" ", names.Promotes(feature).Select(t => Visible(t.Text)));

    // A table cell shows where a token begins with a space, and never breaks its row.
    private static string Visible(string text) => OneLine(text).Replace(' ', '␣');

    private static string OneLine(string text) => string.Concat(text.Select(c => c == '\n' ? '⏎' : char.IsControl(c) ? '·' : c));

    private static string Number(double value) => value.ToString("G4", System.Globalization.CultureInfo.InvariantCulture);

    private static string Signed(double value) => (value > 0 ? "+" : "") + Number(value);

    private static string Percent(double share) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{100 * share:0.#} %");
}
