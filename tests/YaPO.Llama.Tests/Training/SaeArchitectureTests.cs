using System.Globalization;
using Xunit.Abstractions;
using YaPO.Llama.Models;
using YaPO.Llama.Rehearsal.Shapes;
using YaPO.Llama.Rehearsal.Weights;
using YaPO.Llama.Sae;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Training;

namespace YaPO.Llama.Tests.Training;

/// <summary>SAE training needs nothing of an architecture but the layer hook: every rehearsal shape, shrunk, from text to a file that fits.</summary>
public sealed class SaeArchitectureTests(ITestOutputHelper output) : NativeTest
{
    public static TheoryData<string> Shapes() => [.. ModelShape.All.DistinctBy(s => s.Architecture).Select(s => s.Name)];

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Train_Architecture_WritesAnSaeThatFitsItsLayer(string name)
    {
        using var folder = new TemporaryFolder();
        var shape = ModelShape.Parse(name) with { Layers = 2, Width = 256, FeedForward = 512, Heads = 2, KeyValueHeads = 1, HeadSize = 64, Vocabulary = 2000, Context = 256 };
        ModelFile.Write(shape, "q8_0", 3, folder.File("model.gguf"));
        string[] words = ["ba", "ce", "do", "fi", "gu"];
        string Document(int i) => string.Join(' ', Enumerable.Range(0, 40).Select(j => words[((i * 7) + (j * j)) % 5] + words[(i + (3 * j)) % 5]));
        File.WriteAllLines(folder.File("text.txt"), Enumerable.Range(0, 64).SelectMany(i => new[] { Document(i), "" }));

        var result = SaeTrainer.Train(new SaeTrainingOptions
        {
            Model = folder.File("model.gguf"),
            Data = folder.File("text.txt"),
            Layer = 1,
            Output = folder.File("sae.gguf"),
            Latents = 256,
            Activation = Llama.Steering.SaeActivation.TopK,
            TopK = 12,
            AsThreshold = true,
            Rows = 128 * 60,
            BatchSize = 128,
            BlockRows = 1024,
            EvaluationRows = 64,
            MaxTokens = 256,
            LearningRate = 3e-3,
            ResampleEvery = 20,
            Threads = 1,
            Workers = 1,
        });

        using var model = LlamaModel.Load(folder.File("model.gguf"));
        using var sae = SaeFile.Open(folder.File("sae.gguf"));
        var fit = SaeFitCheck.Run(model, sae, new SaeFitOptions { Text = Document(3), Threads = 1 });
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{shape.Architecture}: explained variance {result.ExplainedVariance:0.000} (TopK {result.TrainedExplainedVariance:0.000}), L0 {result.L0:0.0}; fit check {fit.Declared.ExplainedVariance:0.000}, L0 {fit.Declared.L0:0.0}"));
        sae.Info.Base.Architecture.Should().Be(shape.Architecture);
        result.ExplainedVariance.Should().BeGreaterThan(0.3);
        fit.Declared.ExplainedVariance.Should().BeGreaterThan(0.3);
        fit.Neighbours.Should().OnlyContain(n => n.ExplainedVariance < fit.Declared.ExplainedVariance, "it was trained on this layer");
    }
}
