using YaPO.Llama.Gguf;
using YaPO.Llama.Randomness;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Residuals;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

/// <summary>
/// A small random model (F32, but for <see cref="Quantized"/>) of an architecture that can be trained through, as far as a pair engine reads one (blocks and head, no vocabulary), and sequences with random
/// residuals after block 1. The variants cover what the block description can say: windows, caps, head norms, biases, rotary factors and scaling, tied and own heads.
/// </summary>
internal sealed class UpperWorld : IDisposable
{
    public const int Width = 64;
    public const int Layer = 1;
    private const int Latents = 24;
    private const int Vocabulary = 96;
    private const int FeedForward = 128;
    private const int Heads = 4;
    private const int KeyHeads = 2;
    private const int HeadWidth = Width / Heads;
    private readonly TemporaryFolder _folder = new();

    public UpperWorld(string variant)
    {
        var random = new SeededRandom(3, variant);
        WriteModel(variant, random);
        int[] lengths = [21, 13];
        Sequences = [.. lengths.Select(n => new EncodedSequence([.. Enumerable.Range(0, n).Select(_ => (int)(random.NextDouble() * Vocabulary))], n / 2, true, 1))];
        Residuals = new ResidualStore(lengths.Sum(), Width);
        Gaussian(random, lengths.Sum() * Width, 2).CopyTo(Residuals.Slice(0, lengths.Sum()));
    }

    public static string[] Variants { get; } = ["gemma2", "gemma3", "gemma3 scaled", "llama", "llama own head", "llama factors", "llama scaled", "qwen2", "qwen3"];

    /// <summary>Not among <see cref="Variants"/>: with quantized weights the built-in engine rounds activations to BF16 where the processor multiplies those, and slopes are steps.</summary>
    public const string Quantized = "gemma2 q8_0";

    public static string[] Kinds { get; } = ["dense", "sparse", "two blocks"];

    public string Model => _folder.File("upper.gguf");

    public IReadOnlyList<EncodedSequence> Sequences { get; }

    public ResidualStore Residuals { get; }

    public IPairEngine Create(IPairEngineFactory factory) => factory.Create(
        new PairEngineInput(Model, Layer, Sequences, [.. Sequences.Select(s => s.Weights(YaPO.Llama.Steering.SteeringPositions.All))], Residuals, null, 1));

    /// <summary>Coordinates and a v of which a few entries cut active latents.</summary>
    public static (LatentSet Latents, float[] V) Vector(string kind)
    {
        var random = new SeededRandom(8, kind);
        LatentRows Sparse(int first) => new(
            [.. Enumerable.Range(0, Latents).Select(k => first + (3 * k))], Gaussian(random, Latents * Width, 1 / Math.Sqrt(Width)), Gaussian(random, Latents, 0.2),
            Array.ConvertAll(Gaussian(random, Latents, 0.5), Math.Abs), Gaussian(random, Latents * Width, 1 / Math.Sqrt(Width)), Width);
        var latents = kind switch
        {
            "dense" => new LatentSet(Layer, LatentRows.Dense(Width)),
            "sparse" => new LatentSet(Layer, Sparse(5)),
            _ => new LatentSet([(Layer, Sparse(0)), (Layer + 1, Sparse(2)), (Layer + 2, LatentRows.Dense(Width))]),
        };
        return (latents, Gaussian(random, latents.Parameters, 0.7));
    }

    public void Dispose()
    {
        Residuals.Dispose();
        _folder.Dispose();
    }

    private static float[] Gaussian(SeededRandom random, int n, double scale, double mean = 0) => [.. Enumerable.Range(0, n).Select(_ => (float)(mean + (scale * random.NextGaussian())))];

    private void WriteModel(string variant, SeededRandom random)
    {
        var a = variant.Split(' ')[0];
        var (gemma, layers) = (a.StartsWith("gemma", StringComparison.Ordinal), a == "gemma3" ? 7 : 4); // of gemma3's blocks the sixth sees everything
        var writer = new GgufWriter()
            .Set("general.architecture", a)
            .Set($"{a}.context_length", 512u).Set($"{a}.embedding_length", (uint)Width).Set($"{a}.block_count", (uint)layers).Set($"{a}.feed_forward_length", (uint)FeedForward)
            .Set($"{a}.attention.head_count", (uint)Heads).Set($"{a}.attention.head_count_kv", (uint)KeyHeads)
            .Set($"{a}.attention.key_length", (uint)HeadWidth).Set($"{a}.attention.value_length", (uint)HeadWidth)
            .Set($"{a}.attention.layer_norm_rms_epsilon", 1e-6f).Set($"{a}.rope.freq_base", a == "gemma2" ? 1e4f : 5e5f);
        if (gemma)
        {
            writer.Set($"{a}.attention.sliding_window", 6u); // shorter than the sequences
        }

        if (variant.EndsWith("scaled", StringComparison.Ordinal))
        {
            writer.Set($"{a}.rope.scaling.type", "linear").Set($"{a}.rope.scaling.factor", 4f);
        }

        void Matrix(string name, int rows, int inputs) => writer.AddTensor(name, variant.EndsWith("q8_0", StringComparison.Ordinal) ? GgmlType.Q8_0 : GgmlType.F32, [inputs, rows], Gaussian(random, rows * inputs, 1 / Math.Sqrt(inputs)));
        void Vector(string name, int n, double mean) => writer.AddTensor(name, GgmlType.F32, [n], Gaussian(random, n, 0.1, mean));
        Matrix("token_embd.weight", Vocabulary, Width);
        Vector("output_norm.weight", Width, 1);
        if (variant.EndsWith("own head", StringComparison.Ordinal))
        {
            Matrix("output.weight", Vocabulary, Width);
        }

        if (variant.EndsWith("factors", StringComparison.Ordinal))
        {
            Vector("rope_freqs.weight", HeadWidth / 2, 3);
        }

        for (var il = 0; il < layers; il++)
        {
            var p = $"blk.{il}.";
            Vector(p + "attn_norm.weight", Width, 1);
            Vector(p + "ffn_norm.weight", Width, 1);
            foreach (var (name, rows) in new[] { ("q", Width), ("k", KeyHeads * HeadWidth), ("v", KeyHeads * HeadWidth) })
            {
                Matrix($"{p}attn_{name}.weight", rows, Width);
                if (a == "qwen2")
                {
                    Vector($"{p}attn_{name}.bias", rows, 0);
                }
            }

            Matrix(p + "attn_output.weight", Width, Width);
            Matrix(p + "ffn_gate.weight", FeedForward, Width);
            Matrix(p + "ffn_up.weight", FeedForward, Width);
            Matrix(p + "ffn_down.weight", Width, FeedForward);
            if (a is "gemma3" or "qwen3")
            {
                Vector(p + "attn_q_norm.weight", HeadWidth, 1);
                Vector(p + "attn_k_norm.weight", HeadWidth, 1);
            }

            if (gemma)
            {
                Vector(p + "post_attention_norm.weight", Width, 1);
                Vector(p + "post_ffw_norm.weight", Width, 1);
            }
        }

        writer.Save(Model);
    }
}
