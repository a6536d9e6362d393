using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Sae;

/// <summary>How the fit check runs.</summary>
public sealed record SaeFitOptions
{
    /// <summary>Text to measure on; null: <see cref="SaeFitCheck.DefaultText"/>.</summary>
    public string? Text { get; init; }

    /// <summary>Most tokens to use.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>How many blocks on either side of the SAE's own to compare with: neighbours resemble each other, so only a comparison finds a slip by one.</summary>
    public int Neighbours { get; init; } = 1;

    /// <summary>CPU threads; 0: the number of physical cores for the model, one for the SAE.</summary>
    public int Threads { get; init; }

    /// <summary>Told the share done, 0 … 1.</summary>
    public IProgress<double>? Progress { get; init; }
}

/// <summary>The outcome of the fit check.</summary>
/// <param name="Verdict">The conclusion.</param>
/// <param name="Reasons">Why it is not good; empty where it is.</param>
/// <param name="Declared">The fit at the SAE's own layer.</param>
/// <param name="Neighbours">The fits at the blocks beside it.</param>
public sealed record SaeFitResult(SaeFitVerdict Verdict, IReadOnlyList<string> Reasons, SaeFitReport Declared, IReadOnlyList<SaeFitReport> Neighbours);

/// <summary>
/// Runs text through a model and measures how well an SAE describes its residual stream: catches a wrong layer, model, site or conversion before anyone
/// steers with it. SAEs of the pre-trained model on the instruction-tuned one are normal; expect a somewhat lower fit. BOS is left out.
/// </summary>
public static class SaeFitCheck
{
    /// <summary>Plain English prose of several kinds, written for this purpose: about 300 tokens in most vocabularies.</summary>
    public const string DefaultText =
        """
        The old bridge crosses the river just below the mill. It was built of grey stone more than two hundred years ago, and every spring, when the snow melts in the hills, the water rises almost to its arches. People who live nearby still use it to reach the market on the other side.

        Water boils at one hundred degrees Celsius at sea level. At higher altitudes the air pressure is lower, so it boils at a lower temperature, and food takes longer to cook.

        "Did you close the window before we left?" she asked. He thought for a moment. "I think so," he said, "but I am not sure. Should we go back and look?"

        To repair a flat tyre, first remove the wheel and let out the remaining air. Lift one side of the tyre over the rim with two levers, pull out the inner tube, find the hole, clean the area with sandpaper, and glue a patch over it. Wait five minutes before you put everything together again.

        The committee met on Tuesday to discuss the budget for the next year. Three members argued that the library should stay open on Sundays; two were worried about the cost. In the end they agreed to try it for six months and then to count the visitors.

        Most birds that eat insects leave before the winter, because there is nothing left for them to find. Those that eat seeds can stay. Some of them hide thousands of seeds in autumn and remember where most of them are.
        """;

    private const int BatchSize = 256;

    /// <summary>Captures the residuals and measures the fit.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Mismatch"/>: the SAE's d_model or layer is not the model's;
    /// <see cref="YapoErrorKind.InvalidArgument"/>: fewer than two tokens of text; <see cref="YapoErrorKind.Unsupported"/>: a site that is not
    /// the residual stream.</exception>
    public static SaeFitResult Run(LlamaModel model, SaeFile sae, SaeFitOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(sae);
        options ??= new SaeFitOptions();
        Require(model.Info, sae);
        var layers = Enumerable.Range(sae.Info.Layer - options.Neighbours, (2 * options.Neighbours) + 1)
            .Where(l => l >= 0 && l < model.Info.LayerCount).OrderBy(l => l != sae.Info.Layer).ToArray();
        var residuals = Capture(model, layers, options, cancellation);
        var reports = new List<SaeFitReport>();
        foreach (var (layer, rows) in layers.Zip(residuals))
        {
            reports.Add(SaeFit.Measure(sae, rows, layer, Math.Max(1, options.Threads), cancellation));
            options.Progress?.Report((double)reports.Count / layers.Length);
        }

        var (verdict, reasons) = SaeFit.Judge(reports[0], reports[1..]);
        return new SaeFitResult(verdict, reasons, reports[0], reports[1..]);
    }

    /// <summary>Checks that the SAE reads this model's residual stream: site, d_model, layer.</summary>
    /// <exception cref="YapoException">It does not; expected and found.</exception>
    internal static void Require(ModelInfo model, SaeFile sae)
    {
        if (sae.Info.Site != "res")
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{sae.Path}: the SAE reads site '{sae.Info.Site}'; only the residual stream can be measured and steered");
        }

        if (sae.Info.DModel != model.ModelWidth)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{sae.Path}: the SAE expects d_model {sae.Info.DModel}; the model {model.Name} has {model.ModelWidth}. Is it for another model size?");
        }

        if (sae.Info.Layer >= model.LayerCount)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{sae.Path}: the SAE belongs to layer {sae.Info.Layer}; the model {model.Name} has blocks 0 … {model.LayerCount - 1}");
        }
    }

    /// <summary>Residual rows [T, D] of each layer, BOS left out.</summary>
    private static float[][] Capture(LlamaModel model, int[] layers, SaeFitOptions options, CancellationToken cancellation)
    {
        var tokens = model.Tokenize(options.Text ?? DefaultText, addSpecial: true, parseSpecial: false);
        var count = Math.Min(Math.Min(tokens.Length, options.MaxTokens), model.Info.TrainingContext);
        var skip = count > 0 && model.Info.BosToken >= 0 && tokens[0] == model.Info.BosToken ? 1 : 0;
        if (count - skip < 2)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"the fit check needs at least 2 tokens of text besides BOS, found {Math.Max(0, count - skip)}; a few hundred are better");
        }

        var d = model.Info.ModelWidth;
        var rows = Array.ConvertAll(layers, _ => new float[(count - skip) * d]);
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = count, BatchSize = Math.Min(count, BatchSize), Threads = options.Threads });
        context.SetCapture([.. layers.Select(l => (l, CaptureSite.BeforeSteering))]);
        var batch = new DecodeBatch();
        var captured = new float[Math.Min(count, BatchSize) * d];
        for (var first = 0; first < count; first += BatchSize)
        {
            var n = Math.Min(BatchSize, count - first);
            batch.Clear();
            for (var i = 0; i < n; i++)
            {
                batch.Add(tokens[first + i], first + i, output: true); // the last block keeps rows with outputs only
            }

            context.Decode(batch, cancellation);
            for (var slot = 0; slot < layers.Length; slot++)
            {
                context.CopyCaptured(slot, captured.AsSpan(0, n * d));
                var dropped = first == 0 ? skip : 0;
                captured.AsSpan(dropped * d, (n - dropped) * d).CopyTo(rows[slot].AsSpan((first + dropped - skip) * d));
            }
        }

        return rows;
    }
}
