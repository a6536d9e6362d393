using YaPO.Llama.Tensors;

namespace YaPO.Llama.Sae.Formats;

/// <summary>The tensors of a download matched with its format's table: found, and their shapes checked against each other. D = d_model, F = width.</summary>
internal sealed class SaeTensors
{
    private const long MaxWidth = 1 << 26;
    private const long MaxModelWidth = 1 << 20;

    private readonly SaeSource _source;
    private readonly Dictionary<SaePart, (SaeTensor Row, TensorInfo Info)> _found = [];

    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: one is missing or has another shape; <see cref="YapoErrorKind.Unsupported"/>: one that cannot be folded.</exception>
    public SaeTensors(SaeSource source, SaeFormat format)
    {
        _source = source;
        foreach (var (name, reason) in format.Refused)
        {
            if (source.Tensors.Contains(name))
            {
                throw new YapoException(YapoErrorKind.Unsupported, $"{source.Path}: it holds '{name}': {reason}");
            }
        }

        foreach (var row in format.Tensors)
        {
            var name = row.Names.Select(Substitute).FirstOrDefault(source.Tensors.Contains);
            if (name is not null)
            {
                _found.TryAdd(row.Part, (row, source.Tensors.Info(name)));
            }
            else if (!row.Optional)
            {
                source.Tensors.Info(row.Names[0]); // says what there is instead
            }
        }

        var encoder = _found[SaePart.Encoder];
        if (encoder.Info.Shape.Count != 2)
        {
            throw Bad(encoder, encoder.Row.Axes == "DF" ? "(d_model, width)" : "(width, d_model)");
        }

        var (d, f) = (encoder.Info.Shape[encoder.Row.Axes.IndexOf('D')], encoder.Info.Shape[encoder.Row.Axes.IndexOf('F')]);
        if (d is < 1 or > MaxModelWidth || f is < 1 or > MaxWidth)
        {
            throw Bad(encoder, "sizes that an SAE can have");
        }

        (D, F) = ((int)d, (int)f);
        foreach (var tensor in _found.Values)
        {
            long[] expected = [.. tensor.Row.Axes.Select(a => a == 'D' ? d : f)];
            // A lone number may come as shape () or (1,).
            if (!tensor.Info.Shape.SequenceEqual(expected) && !(expected.Length == 0 && tensor.Info.Elements == 1 && tensor.Info.Shape.Count == 1))
            {
                throw Bad(tensor, $"({string.Join(", ", expected)}{(expected.Length == 1 ? "," : "")}) to match '{encoder.Info.Name}' {encoder.Info.ShapeText}");
            }
        }
    }

    public int D { get; }

    public int F { get; }

    /// <summary>Bytes of a part in the file.</summary>
    public long Bytes(SaePart part) => _found[part].Info.DataBytes;

    public TensorData Open(SaePart part, string? temporaryFolder, CancellationToken cancellation) =>
        _source.Tensors.OpenTensor(_found[part].Info.Name, temporaryFolder, cancellation);

    /// <summary>Whether a matrix stores features as columns: [D, F] in C order, or [F, D] in Fortran order.</summary>
    public bool HoldsColumns(SaePart part) => (_found[part].Row.Axes == "DF") != _found[part].Info.FortranOrder;

    /// <summary>Everything but the two matrices, in memory; a single threshold is repeated for all features.</summary>
    public Dictionary<SaePart, double[]> ReadSmall()
    {
        var result = new Dictionary<SaePart, double[]>();
        foreach (var (part, (row, info)) in _found.Where(t => t.Value.Row.Axes.Length < 2))
        {
            var values = _source.Tensors.Read(info.Name);
            var bad = Array.FindIndex(values, x => !float.IsFinite(x));
            if (bad >= 0)
            {
                throw new YapoException(YapoErrorKind.Format, $"{_source.Tensors.Describe(info.Name)}: entry {bad} is {values[bad]}; every value must be finite");
            }

            result[part] = row.Axes.Length == 0 && part is SaePart.Threshold or SaePart.LogThreshold && values.Length == 1
                ? [.. Enumerable.Repeat((double)values[0], F)]
                : [.. values.Select(x => (double)x)];
        }

        return result;
    }

    private string Substitute(string name)
    {
        var open = name.IndexOf('{', StringComparison.Ordinal);
        return open < 0 ? name : name[..open] + _source.Config.Text(name[(open + 1)..^1]);
    }

    private YapoException Bad((SaeTensor Row, TensorInfo Info) tensor, string expected) =>
        new(YapoErrorKind.Format, $"{_source.Path}: array '{tensor.Info.Name}' has shape {tensor.Info.ShapeText}, expected {expected}");
}
