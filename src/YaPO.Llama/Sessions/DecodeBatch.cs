using System.Runtime.InteropServices;

namespace YaPO.Llama.Sessions;

/// <summary>
/// The rows of one decode: token, position, sequence, whether its logits are wanted, and the strength of every attached vector at that token.
/// Reusable: <see cref="Clear"/> keeps the memory.
/// </summary>
/// <param name="vectorCount">N: vectors attached to the context.</param>
public sealed class DecodeBatch(int vectorCount = 0)
{
    private readonly List<int> tokens = [];
    private readonly List<int> positions = [];
    private readonly List<int> sequences = [];
    private readonly List<byte> outputs = [];
    private readonly List<float> strengths = [];

    /// <summary>T: rows.</summary>
    public int Count => tokens.Count;

    /// <summary>N: strengths per row.</summary>
    public int VectorCount { get; private set; } = vectorCount;

    /// <summary>Removes all rows and sets the number of strengths per row.</summary>
    public void Clear(int? vectorCount = null)
    {
        tokens.Clear();
        positions.Clear();
        sequences.Clear();
        outputs.Clear();
        strengths.Clear();
        VectorCount = vectorCount ?? VectorCount;
    }

    /// <summary>Adds a row and returns its index, by which logits are asked for.</summary>
    /// <param name="token">Token id.</param>
    /// <param name="position">Continues the sequence's cache without a gap.</param>
    /// <param name="sequence">Below the context's number of sequences.</param>
    /// <param name="output">Whether the logits of this row are wanted.</param>
    /// <param name="rowStrengths">[N]; may be left out when no vector is attached.</param>
    public int Add(int token, int position, int sequence = 0, bool output = false, ReadOnlySpan<float> rowStrengths = default)
    {
        if (rowStrengths.Length != VectorCount)
        {
            throw new ArgumentException($"expected {VectorCount} strengths for this token, one per attached vector, found {rowStrengths.Length}", nameof(rowStrengths));
        }

        tokens.Add(token);
        positions.Add(position);
        sequences.Add(sequence);
        outputs.Add(output ? (byte)1 : (byte)0);
        strengths.AddRange(rowStrengths);
        return tokens.Count - 1;
    }

    internal ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(tokens);

    internal ReadOnlySpan<int> Positions => CollectionsMarshal.AsSpan(positions);

    internal ReadOnlySpan<int> Sequences => CollectionsMarshal.AsSpan(sequences);

    internal ReadOnlySpan<byte> Outputs => CollectionsMarshal.AsSpan(outputs);

    internal ReadOnlySpan<float> Strengths => CollectionsMarshal.AsSpan(strengths);
}
