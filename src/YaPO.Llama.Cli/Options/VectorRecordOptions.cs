using System.CommandLine;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Options;

/// <summary>What is written into a new vector file beside the vector: names, strength, positions, base model.</summary>
internal sealed record VectorRecord(
    string? Name, string? PositiveMeans, float Strength, SteeringPositions? Positions, string Type, string? Description, string? License, string? Author)
{
    /// <summary>Storage of the decoder rows.</summary>
    public GgmlType DecType => Type switch { "f32" => GgmlType.F32, "bf16" => GgmlType.BF16, _ => GgmlType.F16 };

    /// <summary>The name given, or the output file's.</summary>
    public string NameFor(string output) => Name ?? Path.GetFileNameWithoutExtension(output);

    /// <summary>The vectors as a file for <paramref name="baseModel"/>, with strength and positions recorded.</summary>
    public SteeringFile ToFile(IEnumerable<SteeringVector> vectors, BaseModel baseModel, int dModel, string output) => new()
    {
        Name = NameFor(output),
        Description = Description ?? "",
        License = License ?? "",
        Author = Author ?? "",
        Base = baseModel,
        DModel = dModel,
        Vectors =
        [
            .. vectors.Select(v => v with
            {
                RecommendedStrength = Strength,
                Positions = Positions ?? v.Positions,
                PositiveMeans = PositiveMeans ?? v.PositiveMeans,
                DecType = DecType,
            }),
        ],
    };
}

/// <summary>The options behind <see cref="VectorRecord"/>.</summary>
internal sealed class VectorRecordOptions
{
    private readonly Option<string?> name = new("--name") { Description = "Name of the vector (default: the output file's name).", HelpName = "TEXT" };
    private readonly Option<string?> positiveMeans = new("--positive-means") { Description = "What positive strength does, in words (default: empty).", HelpName = "TEXT" };
    private readonly Option<string?> description = new("--description") { Description = "Description for people (default: empty).", HelpName = "TEXT" };
    private readonly Option<string?> license = new("--license") { Description = "Licence of the vector (default: empty).", HelpName = "TEXT" };
    private readonly Option<string?> author = new("--author") { Description = "Who made it (default: empty).", HelpName = "TEXT" };

    private readonly Option<float> strength = new Option<float>("--strength")
    {
        Description = "Recommended strength to record; positive strengthens, negative weakens, 0 does nothing.",
        DefaultValueFactory = _ => 1f,
        HelpName = "X",
    }.Within(-1e6f, 1e6f);

    private readonly Option<string?> positions = new("--positions")
    {
        Description = "Positions to record: all (every one but BOS), all+bos, prompt, generated, assistant, or START-END (default: all; of a control vector all+bos, as llama.cpp applies it).",
        HelpName = "POSITIONS",
    };

    private readonly Option<string> type = new Option<string>("--type")
    {
        Description = "Storage of the decoder rows: f32, bf16 or f16 (encoder rows stay f32).",
        DefaultValueFactory = _ => "f32",
        HelpName = "TYPE",
    }.OneOf("f32", "bf16", "f16");

    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { name, positiveMeans, strength, positions, type, description, license, author })
        {
            command.Options.Add(option);
        }
    }

    public VectorRecord Read(ParseResult parsed) => new(
        parsed.GetValue(name),
        parsed.GetValue(positiveMeans),
        parsed.GetValue(strength),
        parsed.GetValue(positions) is { } text ? SteeringPositions.Parse(text) : null,
        parsed.GetValue(type)!,
        parsed.GetValue(description),
        parsed.GetValue(license),
        parsed.GetValue(author));
}
