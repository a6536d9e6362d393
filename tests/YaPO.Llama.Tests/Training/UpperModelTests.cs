using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

/// <summary>What an engine elsewhere is told of the upper blocks.</summary>
public sealed class UpperModelTests : NativeTest
{
    [Fact]
    public void Description_IsTheArchitectures()
    {
        using var world = new UpperWorld("gemma3");
        using var model = UpperModel.Load(world.Model, UpperWorld.Layer);

        model.Shape.Should().Be(new UpperShape(1, 7, 64, 4, 2, 16, 96, UsesSilu: false, InterleavedRotation: false, 1e-6f, 0.25f, 0, 0));
        foreach (var il in Enumerable.Range(2, 5))
        {
            model.Block(il).Should().Be(il == 5 ? new UpperBlock(0, 5e5f, 1) : new UpperBlock(6, 1e4f, 1), $"block {il}: every sixth sees everything");
        }

        model.Tensors.Select(t => t.Name).Should().Contain(["token_embd.weight", "output_norm.weight", "blk.2.attn_q_norm.weight", "blk.6.post_ffw_norm.weight"])
            .And.NotContain(["output.weight", "blk.1.attn_q.weight", "blk.2.attn_q.bias"]);
        FluentActions.Invoking(() => model.Block(1)).Should().Throw<YapoException>().WithMessage("*none of the upper blocks 2 to 6*");
    }

    [Fact]
    public void Description_OfLlamaAndQwen_HasTheirForms()
    {
        using var llama = new UpperWorld("llama scaled");
        using var qwen = new UpperWorld("qwen2");
        using var scaled = UpperModel.Load(llama.Model, UpperWorld.Layer);
        using var biased = UpperModel.Load(qwen.Model, UpperWorld.Layer);

        (scaled.Shape.UsesSilu, scaled.Shape.InterleavedRotation, scaled.Block(2)).Should().Be((true, true, new UpperBlock(0, 5e5f, 0.25f)));
        (biased.Shape.UsesSilu, biased.Shape.InterleavedRotation).Should().Be((true, false));
        biased.Tensors.Should().Contain(new UpperTensor("blk.3.attn_k.bias", 32, 1));
    }

    /// <summary>The demo's quantizations are of one model: each is read as its own approximation of it.</summary>
    [Theory]
    [InlineData("demo-q8_0.gguf", 0.002, 0.01)]
    [InlineData("demo-q4_k_m.gguf", 0.01, 0.12)]
    public void ReadRows_AnyQuantization_GivesFloats(string file, double atLeast, double atMost)
    {
        var demo = Path.Combine(Repository.Root, "models", "demo");
        using var exact = UpperModel.Load(Path.Combine(demo, "demo-f16.gguf"), 2);
        using var quantized = UpperModel.Load(Path.Combine(demo, file), 2);
        foreach (var name in new[] { "blk.3.attn_q.weight", "blk.3.ffn_down.weight" })
        {
            var tensor = exact.Tensors.Single(t => t.Name == name);
            var (wanted, found) = (new float[7 * tensor.Row], new float[7 * tensor.Row]);
            exact.ReadRows(tensor, 5, wanted);
            quantized.ReadRows(quantized.Tensors.Single(t => t.Name == name), 5, found);

            Math.Sqrt(wanted.Zip(found, (w, f) => Math.Pow(w - f, 2)).Sum() / wanted.Sum(w => (double)w * w)).Should().BeInRange(atLeast, atMost, name);
        }
    }

    [Fact]
    public void WhatIsNotThere_IsRefused()
    {
        using var world = new UpperWorld("llama");
        using var model = UpperModel.Load(world.Model, UpperWorld.Layer);
        var tensor = model.Tensors[0];

        FluentActions.Invoking(() => model.ReadRows(tensor, tensor.Rows - 1, new float[2 * tensor.Row])).Should().Throw<YapoException>().WithMessage($"*{tensor.Name}*");
        FluentActions.Invoking(() => model.ReadRows(tensor, 0, new float[tensor.Row + 1])).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => model.ReadRows(tensor with { Name = "other" }, 0, new float[tensor.Row])).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => UpperModel.Load(world.Model, 4)).Should().Throw<YapoException>().WithMessage("*layer 4 does not exist*");
        FluentActions.Invoking(() => UpperModel.Load(world.Model + ".none", 0)).Should().Throw<YapoException>();
    }
}
