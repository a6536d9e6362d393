using YaPO.Llama.Gguf;
using YaPO.Llama.IO;
using YaPO.Llama.Models;

namespace YaPO.Llama.Steering;

/// <summary>How a vector was trained (<c>yapo.train.*</c>).</summary>
public sealed record TrainingRecord
{
    /// <summary><c>yapo</c>, <c>bipo</c>, <c>caa</c>, <c>sas</c>, …</summary>
    public string Method { get; init; } = "";

    /// <summary>All hyper-parameters as JSON (canonical once in a file).</summary>
    public string Config { get; init; } = "";

    /// <summary>SHA-256 of the training data file.</summary>
    public string DataSha256 { get; init; } = "";

    /// <summary>Licence of the training data.</summary>
    public string DataLicense { get; init; } = "";

    /// <summary>What computed the gradients, with its version.</summary>
    public string Engine { get; init; } = "";

    /// <summary>Random seed.</summary>
    public ulong? Seed { get; init; }
}

/// <summary>
/// A <c>.ysv</c> file: one or several steering vectors for one base model, with everything needed to apply them. The layout is a GGUF
/// of architecture <c>yapo-steering</c>, format version 1; equal content gives equal bytes (fixed key order, no time stamps).
/// </summary>
public sealed record SteeringFile
{
    /// <summary><c>general.architecture</c> of these files.</summary>
    public const string Architecture = "yapo-steering";

    /// <summary>The layout version this code reads and writes.</summary>
    public const uint FormatVersion = 1;

    /// <summary>Name of the vector, for people.</summary>
    public string Name { get; init; } = "";

    /// <summary>What it does, for people.</summary>
    public string Description { get; init; } = "";

    /// <summary>Licence of the vector.</summary>
    public string License { get; init; } = "";

    /// <summary>Who made it.</summary>
    public string Author { get; init; } = "";

    /// <summary>The model it was made for.</summary>
    public BaseModel Base { get; init; } = BaseModel.Unknown;

    /// <summary>D, the width of the residual stream.</summary>
    public required int DModel { get; init; }

    /// <summary>The vectors, at least one.</summary>
    public required IReadOnlyList<SteeringVector> Vectors { get; init; }

    /// <summary>How it was trained, where it was.</summary>
    public TrainingRecord? Train { get; init; }

    /// <summary>SHA-256 of the files it was pruned or combined from.</summary>
    public IReadOnlyList<string> Parents { get; init; } = [];

    /// <summary>Evidence block as JSON; empty where there is none. Self-reported: show it as such.</summary>
    public string Evidence { get; init; } = "";

    /// <summary>
    /// Reads a <c>.ysv</c> file, or a llama.cpp control-vector GGUF (see <see cref="ControlVectorFile"/>) as dense vectors.
    /// </summary>
    /// <exception cref="YapoException">Missing, malformed, of an unknown version, or with entries that are not finite.</exception>
    public static SteeringFile Load(string path)
    {
        using var file = GgufFile.Open(path);
        return file.Architecture == ControlVectorFile.Architecture ? ControlVectorFile.Read(file) : SteeringFileReader.Read(file);
    }

    /// <summary>Writes the file; a reader sees the old content of <paramref name="path"/> or the new, never a part.</summary>
    /// <exception cref="YapoException">The content is inconsistent (<see cref="Validate"/>) or the file cannot be written.</exception>
    public void Save(string path)
    {
        Validate(path);
        SteeringFileWriter.Create(this).Save(path);
    }

    /// <summary>Checks the whole content as <see cref="Load"/> and <see cref="Save"/> do.</summary>
    /// <param name="what">Opens the messages, usually the path.</param>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>.</exception>
    public void Validate(string what)
    {
        if (DModel is < 1 or > 1 << 20)
        {
            throw new YapoException(YapoErrorKind.Format, $"{what}: d_model {DModel} is out of range 1 … {1 << 20}");
        }

        if (Vectors.Count is < 1 or > 4096)
        {
            throw new YapoException(YapoErrorKind.Format, $"{what}: {Vectors.Count} vectors, expected 1 … 4096");
        }

        for (var i = 0; i < Vectors.Count; i++)
        {
            Vectors[i].Validate(DModel, $"{what}: vector {i} '{Vectors[i].Name}'");
        }
    }

    /// <summary>SHA-256 of the file at <paramref name="path"/>, as <see cref="Parents"/> records it.</summary>
    public static string Sha256(string path) => InputFile.Sha256(path);
}
