using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Chat;

/// <summary>
/// Where /feature takes a feature's rows from: the SAE given with --sae, else the SAE of the first sparse vector when its file lies beside the
/// vector or the model (without a sparse vector: any SAE of the model's width there), else the rows that the vector itself carries.
/// </summary>
internal sealed class FeatureSource(string? saePath, IReadOnlyList<LoadedVector> vectors, LlamaModel model) : IDisposable
{
    private readonly Lock _gate = new();
    private SaeFile? _sae;
    private bool _searched;

    /// <summary>The whole SAE; null where none was named and none found.</summary>
    public SaeFile? Sae
    {
        get
        {
            lock (_gate)
            {
                if (!_searched)
                {
                    _sae = saePath is not null ? SaeFile.Open(saePath) : Find();
                    _searched = true;
                }

                return _sae;
            }
        }
    }

    private SteeringVector? Sparse => vectors.SelectMany(v => v.File.Vectors).FirstOrDefault(v => v.Kind == VectorKind.Sparse);

    /// <summary>A sparse vector of these features.</summary>
    /// <exception cref="YapoException">No source knows the feature.</exception>
    public SteeringVector Vector(int[] index, float[] value)
    {
        if (Sae is { } sae)
        {
            return VectorBuilder.Sparse(sae, index, value, "by hand");
        }

        var own = Sparse ?? throw new YapoException(YapoErrorKind.InvalidArgument, "there is no SAE to take a feature from; start chat with --sae SAE.gguf");
        var rows = Array.ConvertAll(index, j => Array.BinarySearch(own.Index, j));
        if (Array.FindIndex(rows, r => r < 0) is var missing and >= 0)
        {
            throw new YapoException(
                YapoErrorKind.InvalidArgument,
                $"feature {index[missing]} is not among the {own.K} of the vector '{own.Name}', and its SAE was not found; start chat with --sae SAE.gguf to use any of its {own.Sae!.Width} features");
        }

        var d = own.Dec.Length / own.K;
        return own with
        {
            Name = "by hand",
            Index = index,
            Value = value,
            Enc = Rows(own.Enc, rows, d),
            EncBias = Array.ConvertAll(rows, r => own.EncBias[r]),
            Threshold = Array.ConvertAll(rows, r => own.Threshold[r]),
            Dec = Rows(own.Dec, rows, d),
            Rate = null,
            Max = null,
            Labels = null,
        };
    }

    public void Dispose() => _sae?.Dispose();

    private SaeFile? Find()
    {
        var folders = vectors.SelectMany(v => SaeSearch.FoldersOf(v.Path)).Append(Path.GetDirectoryName(Path.GetFullPath(model.Path))!).ToList();
        return Sparse?.Sae is { } wanted ? SaeSearch.Find(wanted, folders) : SaeSearch.FindWidth(model.Info.ModelWidth, folders);
    }

    private static float[] Rows(float[] matrix, int[] rows, int d)
    {
        var result = new float[rows.Length * d];
        for (var i = 0; i < rows.Length; i++)
        {
            matrix.AsSpan(rows[i] * d, d).CopyTo(result.AsSpan(i * d, d));
        }

        return result;
    }
}
