using YaPO.Llama.Gguf;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Sae.Formats;
using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Sae;

/// <summary>
/// Converts published SAEs to our GGUF. Every format is a table (<see cref="SaeFormat"/>): which tensors, which axes, which steps fold its peculiarities into the one
/// run-time form. The matrices stream through memory of a fixed size, whatever theirs.
/// </summary>
public static class SaeConverter
{
    /// <summary>The spellings of <c>--format</c>.</summary>
    public static IReadOnlyList<string> Formats { get; } = [.. SaeFormats.All.Select(f => f.Name).Distinct()];

    /// <summary>Converts; returns what was written. The output appears only when it is whole.</summary>
    /// <exception cref="YapoException">The input is in no known format, is no residual-stream SAE, lacks something that only the user knows, or does not fit the model.</exception>
    public static SaeInfo Convert(SaeConvertOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        cancellation.ThrowIfCancellationRequested();
        using var source = SaeSource.Open(options.Input, SaeFormats.Named(options.Format).SelectMany(f => f.Files), options.Layer);
        var format = SaeFormats.Detect(source, options.Format);
        var said = format.Describe(source);
        RequireResidual(source, said);
        var tensors = new SaeTensors(source, format);
        var info = Describe(options, source, format, said, tensors);
        SaeWriter.CheckDecType(options.DecType, info.DModel);
        SaeStep[] steps = [.. format.Steps.Where(s => s.When(source.Config))];

        if (options.InputScale is not null && Array.TrueForAll(steps, s => s.Says != SaeSteps.InputScale.Says))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{source.Path}: --input-scale is for SAEs trained on scaled activations; this one is not, or says by how much itself");
        }

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var work = new Work(options.Progress, new FileInfo(source.Path).Length, tensors, steps);
        var hash = Task.Run(() => InputFile.Sha256Reporting(source.Path, work.Add, stop.Token), stop.Token);
        try
        {
            var temporary = Path.GetDirectoryName(Path.GetFullPath(options.Output));
            using var encoderData = tensors.Open(SaePart.Encoder, temporary, cancellation);
            using var decoderData = tensors.Open(SaePart.Decoder, temporary, cancellation);
            var encoder = new FeatureRows(encoderData, tensors.HoldsColumns(SaePart.Encoder), info.DModel, info.Width, work.Add, cancellation);
            var decoder = new FeatureRows(decoderData, tensors.HoldsColumns(SaePart.Decoder), info.DModel, info.Width, work.Add, cancellation);
            var folding = new SaeFolding(source, info.DModel, info.Width, tensors.ReadSmall(), options.InputScale, encoder, decoder);
            Array.ForEach(steps, step => step.Apply(folding));
            info = info with
            {
                SourceSha256 = hash.GetAwaiter().GetResult(),
                Conversion =
                [
                    $"{format.Name}: {format.Title}", .. steps.Select(s => s.Says).Where(t => t.Length > 0), .. folding.Notes, .. steps.Length == 0 ? new[] { "nothing to fold" } : [],
                    $"encoder rows stored as F32, decoder rows as {options.DecType}",
                ],
            };
            SaeWriter.Save(
                options.Output, info, Floats("b_enc", folding.EncoderBias), Floats("threshold", Threshold(info, folding)), Floats("b_dec", folding.DecoderBias),
                stream => Write(encoder, folding.EncoderScale, GgmlType.F32, stream),
                stream => Write(decoder, folding.DecoderScale, options.DecType, stream),
                options.DecType, Rates(format.Rates(source, info.Width)));
            return info;

            float[] Floats(string name, double[] values)
            {
                var bad = Array.FindIndex(values, x => !float.IsFinite((float)x));
                return bad < 0 ? [.. values.Select(x => (float)x)] : throw new YapoException(YapoErrorKind.Format, $"{source.Path}: {name}[{bad}] is {values[bad]}; every value must be finite");
            }
        }
        finally
        {
            stop.Cancel();
            Task.WaitAny([hash], CancellationToken.None); // it reads the file that the caller may want to move or delete
        }
    }

    private static ReadOnlyMemory<float>? Rates(float[]? rates) => rates is null ? (ReadOnlyMemory<float>?)null : rates;

    private static double[] Threshold(SaeInfo info, SaeFolding folding) => (info.Activation, folding.Threshold) switch
    {
        (SaeActivation.JumpRelu, null) => throw new YapoException(YapoErrorKind.Format, $"{folding.Path}: a JumpReLU SAE without thresholds"),
        (SaeActivation.JumpRelu, { } threshold) => threshold,
        _ => new double[info.Width],
    };

    private static void Write(FeatureRows matrix, double[] scale, GgmlType type, Stream stream) => matrix.ForEachBlock((first, rows) =>
    {
        var d = matrix.RowLength;
        var scaled = false;
        for (var j = 0; j < rows.Length / d; j++)
        {
            var factor = scale[first + j];
            if (factor != 1)
            {
                scaled = true;
                foreach (ref var x in rows.Slice(j * d, d))
                {
                    x = (float)(x * factor);
                }
            }
        }

        if (scaled)
        {
            matrix.CheckFinite(rows, first);
        }

        if (type == GgmlType.F16)
        {
            CheckHalf(rows, matrix.Description, first, d);
        }

        GgufWriter.WriteFloats(stream, type, rows);
    });

    private static void CheckHalf(ReadOnlySpan<float> rows, string what, int first, int d)
    {
        for (var i = 0; i < rows.Length; i++)
        {
            if (!(Math.Abs(rows[i]) < 65520))
            {
                throw new YapoException(YapoErrorKind.InvalidArgument, $"{what}: feature {first + (i / d)} holds {rows[i]}, which F16 cannot; use --type f32");
            }
        }
    }

    /// <summary>Before the tensors are looked at: those of transcoders have shapes of their own.</summary>
    private static void RequireResidual(SaeSource source, SaeDescription said)
    {
        var site = said.Output is { } output && output != said.Hook ? "transcoder" : said.Hook.Site;
        if (HookPoint.Refusal(site) is { } reason)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{source.Path}: this SAE cannot steer ({site}): {reason}; only SAEs of the residual stream after a block can");
        }
    }

    private static SaeInfo Describe(SaeConvertOptions options, SaeSource source, SaeFormat format, SaeDescription said, SaeTensors tensors)
    {
        if (options.Layer is { } given && said.Hook.Layer is { } named && given != named)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{source.Path}: path or config say layer {named}, --layer says {given}; leave --layer out, or use the right file");
        }

        var layer = said.Hook.Layer ?? options.Layer ?? throw new YapoException(
            YapoErrorKind.InvalidArgument, $"{source.Path}: neither path nor config say which layer this SAE belongs to; give --layer");
        var activation = format.Activation(source);
        if (options.TopK is { } k && said.TopK is { } saidK && k != saidK)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{source.Path}: path or config say k = {saidK}, --top-k says {k}");
        }

        if (options.TopK is not null && activation != SaeActivation.TopK)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"--top-k is for TopK SAEs; {source.Path} is {SaeActivationName.Of(activation)}");
        }

        var topK = activation != SaeActivation.TopK ? 0 : said.TopK ?? options.TopK ?? throw new YapoException(
            YapoErrorKind.InvalidArgument, $"{source.Path}: a TopK SAE, but neither path nor config say its k; give --top-k");
        CheckModel(options.Model, source.Path, layer, tensors.D);
        var info = new SaeInfo
        {
            Layer = layer,
            DModel = tensors.D,
            Width = tensors.F,
            Activation = activation,
            TopK = topK,
            Base = options.Model?.ToBaseModel() ?? new BaseModel { Architecture = said.BaseArchitecture, Name = said.BaseName },
            Name = said.Name.Length > 0 ? said.Name : Path.GetFileNameWithoutExtension(source.Path),
            Source = said.Source.Length > 0 ? said.Source : source.Origin(),
            License = said.License,
            Attribution = said.Attribution,
            AverageL0 = (float?)said.AverageL0,
        };
        info.Validate(source.Path);
        return info;
    }

    private static void CheckModel(ModelIdentity? model, string path, int layer, int d)
    {
        if (model is not null && model.DModel != d)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{path}: the SAE expects d_model {d}; the model {model.Name} has {model.DModel}. Is it for another model size?");
        }

        if (model is not null && layer >= model.LayerCount)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{path}: layer {layer} is out of range; the model {model.Name} has blocks 0 … {model.LayerCount - 1}");
        }
    }

    /// <summary>
    /// Progress in bytes read: the file once for its hash, beside which the archive's checksums are verified, and the two matrices once for every step that looks at one and
    /// once to write. From several threads.
    /// </summary>
    private sealed class Work(IProgress<double>? progress, long fileBytes, SaeTensors tensors, SaeStep[] steps)
    {
        private readonly long _total =
            fileBytes + tensors.Bytes(SaePart.Encoder) + tensors.Bytes(SaePart.Decoder) + steps.Sum(s => s.Reads is { } part ? tensors.Bytes(part) : 0);

        private long _done;

        public void Add(long bytes) => progress?.Report(Math.Min(1, (double)Interlocked.Add(ref _done, bytes) / _total));
    }
}
