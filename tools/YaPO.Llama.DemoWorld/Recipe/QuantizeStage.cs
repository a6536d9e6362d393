using YaPO.Llama.Models;

namespace YaPO.Llama.DemoWorld.Recipe;

/// <summary>Makes the models that ship from the float model.</summary>
public static class QuantizeStage
{
    /// <summary>File types, highest precision first.</summary>
    public static IReadOnlyList<string> Types { get; } = ["f16", "q8_0", "q4_k_m"];

    /// <summary>Runs the stage.</summary>
    public static void Run(Workplace place)
    {
        foreach (var type in Types)
        {
            place.Stage($"quantizing to {type}", [place.Model(type)], () => LlamaModel.Quantize(place.FloatModel, place.Model(type), type, place.Workers));
        }
    }
}
