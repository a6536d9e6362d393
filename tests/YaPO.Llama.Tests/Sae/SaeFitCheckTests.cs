using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Sae;

public sealed class SaeFitCheckTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    private const string Text = "what is the model that the user eats on a day";

    private readonly TemporaryFolder _folder = new();

    public override void Dispose()
    {
        _folder.Dispose();
        base.Dispose();
    }

    private static SaeFitOptions Options => new() { Text = Text, Threads = 1 };

    private LlamaModel Model() => LlamaModel.Load(file.Path);

    /// <summary>A ReLU SAE with features ±q for each row of an orthonormal basis: it reconstructs exactly what lies in their span.</summary>
    private SaeFile Project(float[][] basis, int d, int layer, float? averageL0 = null)
    {
        var rows = basis.SelectMany(q => q.Concat(q.Select(x => -x))).ToArray();
        var f = 2 * basis.Length;
        var info = new SaeInfo { Layer = layer, DModel = d, Width = f, Activation = SaeActivation.Relu, AverageL0 = averageL0 };
        SaeWriter.Save(_folder.File("sae.gguf"), info, new SaeWeights(rows, new float[f], new float[f], rows, new float[d]));
        return SaeFile.Open(_folder.File("sae.gguf"));
    }

    private static float[][] Identity(int d) => [.. Enumerable.Range(0, d).Select(i => Enumerable.Range(0, d).Select(j => i == j ? 1f : 0f).ToArray())];

    /// <summary>An orthonormal basis of the rows that the model produces at a layer.</summary>
    private static float[][] SpanOf(LlamaModel model, int layer)
    {
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, Threads = 1 });
        context.SetCapture((layer, CaptureSite.BeforeSteering));
        var tokens = model.Tokenize(Text);
        var batch = new DecodeBatch();
        for (var i = 0; i < tokens.Length; i++)
        {
            batch.Add(tokens[i], i, output: true);
        }

        context.Decode(batch);
        var d = model.Info.ModelWidth;
        var captured = new float[tokens.Length * d];
        context.CopyCaptured(0, captured);
        var basis = new List<double[]>();
        for (var t = 1; t < tokens.Length; t++)
        {
            var row = captured.Skip(t * d).Take(d).Select(x => (double)x).ToArray();
            for (var pass = 0; pass < 2; pass++)
            {
                foreach (var q in basis)
                {
                    var dot = row.Zip(q).Sum(p => p.First * p.Second);
                    row = [.. row.Zip(q).Select(p => p.First - (dot * p.Second))];
                }
            }

            var norm = Math.Sqrt(row.Sum(x => x * x));
            if (norm > 1e-3)
            {
                basis.Add([.. row.Select(x => x / norm)]);
            }
        }

        basis.Count.Should().BeLessThan(d / 2, "otherwise the span is nearly the whole space and the test shows nothing");
        return [.. basis.Select(q => q.Select(x => (float)x).ToArray())];
    }

    [Fact]
    public void Run_CompleteDictionary_ExplainsEverythingAtEveryLayer()
    {
        using var model = Model();
        using var sae = Project(Identity(model.Info.ModelWidth), model.Info.ModelWidth, layer: 1);

        var result = SaeFitCheck.Run(model, sae, Options);

        result.Verdict.Should().Be(SaeFitVerdict.Good);
        result.Declared.ExplainedVariance.Should().BeGreaterThan(0.999999);
        result.Declared.Tokens.Should().Be(model.Tokenize(Text).Length - 1, "BOS is left out");
        result.Declared.L0.Should().BeApproximately(model.Info.ModelWidth, 0.5, "of ±x one is active");
        result.Neighbours.Select(r => r.Layer).Should().Equal(0, 2);
        result.Neighbours.Should().OnlyContain(r => r.ExplainedVariance > 0.999999, "the last block's rows are captured too");
    }

    [Fact]
    public void Run_SaeOfTheLayerBefore_IsFound()
    {
        using var model = Model();
        var span = SpanOf(model, layer: 1);
        using (var right = Project(span, model.Info.ModelWidth, layer: 1))
        {
            var result = SaeFitCheck.Run(model, right, Options);
            result.Declared.ExplainedVariance.Should().BeGreaterThan(0.9999);
            result.Verdict.Should().Be(SaeFitVerdict.Good);
        }

        using var wrong = Project(span, model.Info.ModelWidth, layer: 2);
        var (verdict, reasons, _, _) = SaeFitCheck.Run(model, wrong, Options);
        verdict.Should().Be(SaeFitVerdict.Bad);
        reasons.Should().ContainMatch("layer 1 fits better*");
    }

    [Fact]
    public void Run_WhatDoesNotFit_IsRefused()
    {
        using var model = Model();
        using (var narrow = Project(Identity(32), 32, layer: 1))
        {
            FluentActions.Invoking(() => SaeFitCheck.Run(model, narrow, Options)).Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Mismatch).WithMessage("*d_model 32*has 64*");
        }

        using (var deep = Project(Identity(64), 64, layer: 3))
        {
            FluentActions.Invoking(() => SaeFitCheck.Run(model, deep, Options)).Should().Throw<YapoException>().WithMessage("*layer 3*blocks 0 … 2*");
        }

        using var sae = Project(Identity(64), 64, layer: 1);
        FluentActions.Invoking(() => SaeFitCheck.Run(model, sae, Options with { Text = "" })).Should().Throw<YapoException>().WithMessage("*at least 2 tokens*");
    }

    [Fact]
    public void Run_DefaultText_IsLongEnough()
    {
        using var model = Model();
        using var sae = Project(Identity(64), 64, layer: 0, averageL0: 64);

        var result = SaeFitCheck.Run(model, sae, Options with { Text = null, MaxTokens = 300 });

        result.Declared.Tokens.Should().Be(299, "several batches are put together");
        result.Verdict.Should().Be(SaeFitVerdict.Good);
        result.Neighbours.Should().ContainSingle();
    }
}
