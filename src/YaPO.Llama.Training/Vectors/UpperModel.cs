using System.Runtime.InteropServices;
using YaPO.Llama.Interop;

namespace YaPO.Llama.Training.Vectors;

/// <summary>Sizes and forms that the blocks of a model share, for every architecture that can be trained through (<c>yapo_upper_shape</c> of yapo_train.h gives the formulas).</summary>
/// <param name="Layer">Steered block: the blocks after it are the upper ones.</param>
/// <param name="LayerCount">Blocks of the whole model.</param>
/// <param name="ModelWidth">D.</param>
/// <param name="HeadCount">Query heads.</param>
/// <param name="KeyValueHeadCount">Key and value heads; head j serves query heads j · HeadCount / KeyValueHeadCount and on.</param>
/// <param name="HeadWidth">Width of a head.</param>
/// <param name="VocabularySize">V.</param>
/// <param name="UsesSilu">The feed-forward activation: SiLU, or GELU in its tanh form.</param>
/// <param name="InterleavedRotation">Rotary pairs are (2i, 2i + 1), or (i, i + HeadWidth / 2).</param>
/// <param name="NormEpsilon">ε of every RMS norm.</param>
/// <param name="AttentionScale">Factor of q·k.</param>
/// <param name="AttentionCap">c of c·tanh(x / c) on attention scores; 0: none.</param>
/// <param name="LogitCap">The same on logits.</param>
public sealed record UpperShape(
    int Layer, int LayerCount, int ModelWidth, int HeadCount, int KeyValueHeadCount, int HeadWidth, int VocabularySize, bool UsesSilu, bool InterleavedRotation,
    float NormEpsilon, float AttentionScale, float AttentionCap, float LogitCap);

/// <summary>What differs from block to block.</summary>
/// <param name="Window">Positions a query sees, itself included; 0: all before it.</param>
/// <param name="Theta">Base of the rotary frequencies.</param>
/// <param name="RopeScale">Factor of positions in the rotation.</param>
public readonly record struct UpperBlock(int Window, float Theta, float RopeScale);

/// <summary>A weight of the upper blocks or the head: <paramref name="Rows"/> rows of <paramref name="Row"/> values; a vector is one row.</summary>
/// <param name="Name">As in the GGUF.</param>
/// <param name="Row">Values per row: the inputs of a matrix.</param>
/// <param name="Rows">Rows: its outputs.</param>
public sealed record UpperTensor(string Name, long Row, long Rows);

/// <summary>
/// The blocks above a steered one and the head, as libyapo's trainer reads them from a GGUF: one description for every architecture, and the weights as floats whatever
/// their quantization. What an engine needs that computes the same blocks elsewhere. Which norms and biases there are, <see cref="Tensors"/> says.
/// </summary>
public sealed unsafe class UpperModel : IDisposable
{
    private readonly UpperHandle _upper;

    private UpperModel(UpperHandle upper, UpperShape shape, IReadOnlyList<UpperTensor> tensors) => (_upper, Shape, Tensors) = (upper, shape, tensors);

    /// <summary>Sizes and forms.</summary>
    public UpperShape Shape { get; }

    /// <summary>Weights of the upper blocks, of the final norm and of the head.</summary>
    public IReadOnlyList<UpperTensor> Tensors { get; }

    /// <summary>Opens a model.</summary>
    /// <param name="gguf">Any quantization of a supported architecture.</param>
    /// <param name="layer">Zero-based steered block.</param>
    /// <exception cref="YapoException">An unreadable file, a block that does not exist, or an architecture or feature that training does not support, by name.</exception>
    public static UpperModel Load(string gguf, int layer)
    {
        NativeMethods.yapo_upper_load(gguf, layer, out var upper, out var error).Check(error);
        try
        {
            var shape = new yapo_upper_shape { struct_size = (uint)sizeof(yapo_upper_shape) };
            NativeMethods.yapo_upper_describe(upper, ref shape, out error).Check(error);
            var tensors = new UpperTensor[shape.n_tensors];
            for (var i = 0; i < tensors.Length; i++)
            {
                var tensor = new yapo_upper_tensor { struct_size = (uint)sizeof(yapo_upper_tensor) };
                NativeMethods.yapo_upper_describe_tensor(upper, i, ref tensor, out error).Check(error);
                tensors[i] = new UpperTensor(Marshal.PtrToStringUTF8((nint)tensor.name)!, tensor.row, tensor.n_rows);
            }

            return new UpperModel(
                upper,
                new UpperShape(
                    shape.layer, shape.n_layer, shape.d_model, shape.n_head, shape.n_head_kv, shape.head_dim, shape.n_vocab, shape.silu != 0, shape.interleaved != 0,
                    shape.eps, shape.attention_scale, shape.attention_softcap, shape.final_softcap),
                tensors);
        }
        catch
        {
            upper.Dispose();
            throw;
        }
    }

    /// <summary>Block <paramref name="il"/>, above the steered one.</summary>
    /// <exception cref="YapoException">None of the upper blocks.</exception>
    public UpperBlock Block(int il)
    {
        var block = new yapo_upper_block { struct_size = (uint)sizeof(yapo_upper_block) };
        NativeMethods.yapo_upper_describe_block(_upper, il, ref block, out var error).Check(error);
        return new UpperBlock(block.window, block.theta, block.rope_scale);
    }

    /// <summary>Rows of a weight as floats, from <paramref name="firstRow"/> on, as many as fill <paramref name="rows"/>.</summary>
    /// <exception cref="ArgumentException">A tensor of another model, or no whole number of rows.</exception>
    /// <exception cref="YapoException">Rows that do not exist.</exception>
    public void ReadRows(UpperTensor tensor, long firstRow, Span<float> rows)
    {
        var at = ((IList<UpperTensor>)Tensors).IndexOf(tensor);
        if (at < 0 || rows.Length % tensor.Row != 0)
        {
            throw new ArgumentException($"{rows.Length} values of {tensor.Name}, which has rows of {tensor.Row}", nameof(rows));
        }

        NativeMethods.yapo_upper_read_tensor(_upper, at, firstRow, rows.Length / tensor.Row, rows, out var error).Check(error);
    }

    /// <inheritdoc/>
    public void Dispose() => _upper.Dispose();
}
