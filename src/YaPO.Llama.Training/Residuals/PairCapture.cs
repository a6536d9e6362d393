using YaPO.Llama.Datasets;
using YaPO.Llama.Models;
using YaPO.Llama.Training.Pairs;

namespace YaPO.Llama.Training.Residuals;

/// <summary>
/// Preference pairs as tokens, with the residual stream after several blocks, all captured in one pass over the text. Shared by training runs that differ in
/// method, layer, positions, rate or seed: what lies below the steered block is a constant of them all.
/// </summary>
public sealed class PairCapture : IDisposable
{
    private readonly Dictionary<int, ResidualStore> _stores;

    private PairCapture(SteeringTrainingOptions options, EncodedSequence[] sequences, int trainPairs, int shortened, Dictionary<int, ResidualStore> stores) =>
        (Model, Data, ValidationData, Format, MaxTokens, Sequences, TrainPairs, Shortened, _stores) =
        (options.Model, options.Data, options.ValidationData, options.Format, options.MaxTokens, sequences, trainPairs, shortened, stores);

    /// <summary>The model file.</summary>
    public string Model { get; }

    /// <summary>Training pairs.</summary>
    public string Data { get; }

    /// <summary>Validation pairs; null for none.</summary>
    public string? ValidationData { get; }

    /// <summary>Form of the text.</summary>
    public PairFormat Format { get; }

    /// <summary>Longest sequence.</summary>
    public int MaxTokens { get; }

    /// <summary>Number of training pairs; they come first.</summary>
    public int TrainPairs { get; }

    /// <summary>Number of validation pairs.</summary>
    public int ValidationPairs => (Sequences.Count / 2) - TrainPairs;

    /// <summary>Sequences that lost tokens of their prompt.</summary>
    public int Shortened { get; }

    /// <summary>Chosen and rejected in turn, training pairs before validation pairs.</summary>
    public IReadOnlyList<EncodedSequence> Sequences { get; }

    /// <summary>Tokens of all sequences.</summary>
    public long Tokens => Sequences.Sum(s => (long)s.Tokens.Length);

    /// <summary>Reads and encodes the pairs of <paramref name="options"/> and captures residuals after each of <paramref name="layers"/>.</summary>
    public static PairCapture Run(LlamaModel model, SteeringTrainingOptions options, IReadOnlyList<int> layers, CancellationToken cancellation = default)
    {
        var train = PreferencePair.Load(options.Data);
        var validation = options.ValidationData is null ? [] : PreferencePair.Load(options.ValidationData);
        var encoder = new PairEncoder(model, options.Format, options.MaxTokens);
        var sequences = encoder.Sequences(train.Concat(validation));
        var rows = sequences.Sum(s => (long)s.Tokens.Length);
        var stores = new Dictionary<int, ResidualStore>();
        try
        {
            foreach (var layer in layers)
            {
                stores[layer] = new ResidualStore(rows, model.Info.ModelWidth, options.CheckpointFolder);
            }

            using var capture = new ResidualCapture(model, [.. stores.Keys], sequences.Max(s => s.Tokens.Length), options.Threads);
            long row = 0;
            foreach (var sequence in sequences)
            {
                cancellation.ThrowIfCancellationRequested();
                capture.Run([sequence.Tokens], cancellation);
                foreach (var (slot, store) in stores.Values.Index())
                {
                    capture.Copy(slot, store.Slice(row, sequence.Tokens.Length));
                }

                row += sequence.Tokens.Length;
            }

            return new PairCapture(options, sequences, train.Count, encoder.Shortened, stores);
        }
        catch
        {
            foreach (var store in stores.Values)
            {
                store.Dispose();
            }

            throw;
        }
    }

    /// <summary>Residuals after a block, sequence after sequence.</summary>
    /// <exception cref="ArgumentException">The block was not captured.</exception>
    public ResidualStore At(int layer) => _stores.TryGetValue(layer, out var store) ? store : throw new ArgumentException($"block {layer} was not captured; captured are {string.Join(", ", _stores.Keys)}");

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var store in _stores.Values)
        {
            store.Dispose();
        }
    }

    /// <summary>Whether a training run may use this capture.</summary>
    internal bool Fits(SteeringTrainingOptions options) =>
        (Model, Data, ValidationData, Format, MaxTokens) == (options.Model, options.Data, options.ValidationData, options.Format, options.MaxTokens);
}
