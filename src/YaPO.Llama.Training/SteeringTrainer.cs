using System.Diagnostics;
using YaPO.Llama.Datasets;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Training.Checkpoints;
using YaPO.Llama.Training.Estimates;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Progress;
using YaPO.Llama.Training.Residuals;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Training;

/// <summary>
/// Learns a steering vector from preference pairs, directly on a quantized GGUF. The blocks up to the layer run once in llama.cpp; their residuals are
/// constants of the training, which computes only what lies above.
/// </summary>
public static class SteeringTrainer
{
    private const int ImpactRows = 512;

    // A direction of this share of the residual stream's norm cannot be told from the rounding of F32.
    private const double Rounding = 1e-6;

    /// <summary>Trains and writes the <c>.ysv</c> file.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="status">Short lines about the stage the run is in.</param>
    /// <param name="progress">After every optimizer step.</param>
    /// <param name="cancellation">Saves a checkpoint (where there is a folder) and throws.</param>
    /// <exception cref="YapoException">Files or settings cannot be used, or do not belong together.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public static SteeringTrainingResult Train(
        SteeringTrainingOptions options, Action<string>? status = null, Action<TrainingProgress>? progress = null, CancellationToken cancellation = default)
    {
        var watch = Stopwatch.StartNew();
        options.Optimizer.Validate();
        if (options.Captured?.Fits(options) == false)
        {
            throw new ArgumentException("the residuals were captured for other pairs or another model", nameof(options));
        }

        var train = PreferencePair.Load(options.Data);
        var validation = options.ValidationData is null ? [] : PreferencePair.Load(options.ValidationData);
        var identity = ModelFingerprint.Compute(options.Model);
        var layers = TrainedLayer.Open(options, identity);
        using var owned = new Disposables(layers);
        int[] blocks = [.. layers.Select(l => l.Layer)];
        var (sequences, shortened) = options.Captured is { } shared ? ([.. shared.Sequences], shared.Shortened) : Encode(options, train.Concat(validation), cancellation);
        if (options.Captured is null)
        {
            var asked = options.ModelOptions.KeepLayout;
            options = ForThisMachine(options, layers, sequences);
            RequireMemory(options, layers, sequences);
            if (options.ModelOptions.KeepLayout != asked)
            {
                status?.Invoke("capturing with the weights as the file holds them, which is slower: a copy in llama.cpp's faster order would not fit beside them");
            }
        }

        var config = options.ToCanonicalJson(blocks);
        var modelHash = InputFile.Sha256(options.Model, cancellation);
        var dataHash = InputFile.Sha256(options.Data, cancellation);
        var validationHash = options.ValidationData is null ? null : InputFile.Sha256(options.ValidationData, cancellation);
        var folder = options.CheckpointFolder is null ? null : new CheckpointFolder(options.CheckpointFolder, "steering", RunConfig(options, config, modelHash, dataHash, validationHash, layers));
        var checkpoint = folder?.LoadFor(options.Resume);

        LayerCapture? captured = null;
        if (options.Captured is null)
        {
            using var model = LlamaModel.Load(options.Model, options.ModelOptions, null, cancellation); // released before training: the lower blocks are done
            captured = LayerCapture.Run(
                model, blocks, sequences, options.Threads, options.CheckpointFolder,
                $"{modelHash} {dataHash} {validationHash} {options.Format} {options.MaxTokens}{(options.ModelOptions.KeepLayout ? " kept layout" : "")}", status, cancellation);
            owned.Add(captured);
        }

        var weights = Array.ConvertAll(sequences, s => s.Weights(options.Positions));
        var trainSequences = new ArraySegment<EncodedSequence>(sequences, 0, 2 * train.Count);
        foreach (var (i, layer) in layers.Index())
        {
            if (layer.Sae is not null)
            {
                status?.Invoke($"encoding {sequences.Sum(s => s.Tokens.Length)} rows of block {layer.Layer} with {layer.Sae.Info.Width} latents");
            }

            layer.Measure(captured?.Stores[i] ?? options.Captured!.At(layer.Layer), sequences, weights, trainSequences.Count, lowest: i == 0, options, cancellation);
        }

        var (vectors, optimized) = options.Method switch
        {
            SteeringMethod.Caa => ([.. layers.Select(l => VectorBuilder.Dense(ContrastVectors.Caa(trainSequences, l.Residuals, options.AnswerTokens), l.Layer, VectorName(options, l, layers)))], null),
            SteeringMethod.Sas => ([.. layers.Select(l => Sas(options, l, VectorName(options, l, layers), trainSequences, cancellation))], null),
            _ => Optimize(options, layers, sequences, weights, train.Count, validation.Count, folder, checkpoint, status, progress, cancellation),
        };
        if (vectors.FirstOrDefault(v => v.Kind == VectorKind.Dense && Math.Sqrt(v.Value.Sum(x => (double)x * x)) <= Rounding * layers.Single(l => l.Layer == v.Layer).NormMean) is { } nothing)
        {
            throw new YapoException(
                YapoErrorKind.Failed,
                $"the vector of block {nothing.Layer} is nothing but rounding: chosen and rejected answers do not differ there. Are they the same in {options.Data}? Else use another layer{(optimized is null ? "" : ", more steps or a higher learning rate")}");
        }

        SteeringVector[] recorded =
        [
            .. vectors.Select(v => v with
            {
                Positions = options.Positions,
                PositiveMeans = options.PositiveMeans,
                RecommendedStrength = (float)options.RecommendedStrength,
                HNormMean = (float)layers.Single(l => l.Layer == v.Layer).NormMean,
            }),
        ];
        var file = new SteeringFile
        {
            Name = VectorName(options),
            Base = identity.ToBaseModel(modelHash),
            DModel = identity.DModel,
            Vectors = recorded,
            Train = new TrainingRecord
            {
                Method = options.MethodName,
                Config = config,
                DataSha256 = dataHash,
                DataLicense = options.DataLicense,
                Engine = options.Method is SteeringMethod.Caa or SteeringMethod.Sas ? "yapo-forward/1" : options.Engine.Name,
                Seed = options.Optimizer.Seed,
            },
        };
        file.Save(options.Output);
        SteeringImpact[] impacts = [.. recorded.Select(v => Impact(v, trainSequences, weights, layers.Single(l => l.Layer == v.Layer).Residuals, options.WorkerCount))];
        captured?.Delete();
        return new SteeringTrainingResult(
            file,
            new FileInfo(options.Output).Length,
            train.Count,
            validation.Count,
            shortened,
            layers.Sum(l => l.Statistics?.Active().Length ?? 0),
            recorded.Sum(v => v.NegativeMass * v.Value.Sum(x => (double)Math.Abs(x))) / recorded.Sum(v => v.Value.Sum(x => (double)Math.Abs(x))),
            impacts,
            optimized,
            watch.Elapsed.TotalSeconds);
    }

    private static SteeringVector Sas(SteeringTrainingOptions options, TrainedLayer layer, string name, IReadOnlyList<EncodedSequence> sequences, CancellationToken cancellation)
    {
        var (index, value) = ContrastVectors.Sas(layer.Sae!, sequences, layer.Residuals, options.AnswerTokens, options.Tau, options.WorkerCount, cancellation);
        return VectorBuilder.Sparse(layer.Sae!, index, value, name, options.DecoderType);
    }

    private static (SteeringVector[] Vectors, OptimizedVector Optimized) Optimize(
        SteeringTrainingOptions options, TrainedLayer[] layers, EncodedSequence[] sequences, float[][] weights, int trainPairs, int validationPairs,
        CheckpointFolder? folder, Checkpoint? checkpoint, Action<string>? status, Action<TrainingProgress>? progress, CancellationToken cancellation)
    {
        var coordinates = Array.ConvertAll(layers, l => l.Coordinates());
        var latents = new LatentSet([.. layers.Zip(coordinates, (l, c) => (l.Layer, c.Rows))]);
        status?.Invoke($"training {latents.Parameters} coordinates on {trainPairs} pairs on {options.Engine.Place}, {options.Engine.WorkersFor(options.WorkerCount)} workers");
        using var engine = options.Engine.Create(new PairEngineInput(options.Model, layers[0].Layer, sequences, weights, layers[0].Residuals, layers[0].Codes, options.WorkerCount));
        var optimized = new VectorOptimizer(engine, latents, [.. coordinates.SelectMany(c => c.Scale)], trainPairs, validationPairs, options.Optimizer)
            .Run(folder, checkpoint, options.CheckpointSeconds, options.LogPath, progress, cancellation);
        var vectors = new List<SteeringVector>();
        foreach (var (at, rows, first) in optimized.Latents.Parts())
        {
            var layer = layers.Single(l => l.Layer == at);
            vectors.Add(layer.Vector(rows, optimized.Value.AsSpan(first, rows.Parameters), VectorName(options, layer, layers), options.DecoderType));
        }

        return ([.. vectors], optimized);
    }

    /// <summary>The pairs as tokens; takes the model's vocabulary only, so that what does not fit is refused before anything is loaded.</summary>
    internal static (EncodedSequence[] Sequences, int Shortened) Encode(SteeringTrainingOptions options, IEnumerable<PreferencePair> pairs, CancellationToken cancellation)
    {
        using var vocabulary = LlamaModel.Load(options.Model, new ModelOptions { VocabularyOnly = true }, null, cancellation);
        var encoder = new PairEncoder(vocabulary, options.Format, options.MaxTokens);
        return (encoder.Sequences(pairs), encoder.Shortened);
    }

    /// <summary>The same run, capturing with the weights as the file holds them where a copy in llama.cpp's faster order would not fit beside them.</summary>
    internal static SteeringTrainingOptions ForThisMachine(SteeringTrainingOptions options, TrainedLayer[] layers, EncodedSequence[] sequences)
    {
        using var gguf = Gguf.GgufFile.Open(options.Model);
        var memory = Memory(gguf, options, layers, sequences.Max(s => s.Tokens.Length), sequences.Sum(s => (long)s.Tokens.Length));
        return memory.CapturePeak <= GC.GetGCMemoryInfo().TotalAvailableMemoryBytes ? options : options with { ModelOptions = options.ModelOptions with { KeepLayout = true } };
    }

    private static void RequireMemory(SteeringTrainingOptions options, TrainedLayer[] layers, EncodedSequence[] sequences)
    {
        using var gguf = Gguf.GgufFile.Open(options.Model);
        var longest = sequences.Max(s => s.Tokens.Length);
        var optimizes = options.Method is SteeringMethod.Yapo or SteeringMethod.Bipo;
        var workers = optimizes ? options.Engine.WorkersFor(options.WorkerCount) : 1;
        Memory(gguf, options, layers, longest, sequences.Sum(s => (long)s.Tokens.Length)).Require(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes, longest, workers);
    }

    internal static TrainingMemory Memory(Gguf.GgufFile gguf, SteeringTrainingOptions options, TrainedLayer[] layers, int longest, long rows)
    {
        int Latents(IEnumerable<TrainedLayer> of) => options.Method == SteeringMethod.Yapo ? of.Sum(l => l.Sae!.Info.Width) : 0;
        var optimizes = options.Method is SteeringMethod.Yapo or SteeringMethod.Bipo;
        var (lowest, layer, higher) = (Latents(layers.Take(1)), layers[0].Layer, Latents(layers.Skip(1)));
        var device = optimizes ? options.Engine.Device : null;
        var captures = device is not null && options.ModelOptions.GpuLayers < 0 && device.Name.Equals(options.ModelOptions.Device, StringComparison.OrdinalIgnoreCase); // all blocks on the device, none here
        var memory = TrainingMemory.Estimate(
            gguf, layer, lowest, longest, rows * layers.Length, optimizes ? options.Engine.WorkersFor(options.WorkerCount) : 1, higher,
            optimizes ? options.Engine.HostBytesPerWeight : 0, options.ModelOptions.KeepLayout || captures);
        return device is null ? memory : memory with { Activations = 0, Device = DeviceMemory.Estimate(gguf, device, layer, lowest, higher, longest, captures) };
    }

    private static string RunConfig(SteeringTrainingOptions options, string config, string modelHash, string dataHash, string? validationHash, TrainedLayer[] layers)
    {
        var json = new System.Text.Json.Nodes.JsonObject
        {
            ["config"] = System.Text.Json.Nodes.JsonNode.Parse(config),
            ["seed"] = options.Optimizer.Seed,
            ["model_sha256"] = modelHash,
            ["data_sha256"] = dataHash,
            ["sae"] = layers[0].Sae?.Identity,
            ["validation_sha256"] = validationHash,
        };
        if (options.Engine.Name != GgmlPairEngine.EngineName)
        {
            json["engine"] = options.Engine.Name; // another arithmetic would not go on to the same result
        }

        if (options.ModelOptions.KeepLayout)
        {
            json["keep_layout"] = true; // rounds its products differently
        }

        if (layers.Length > 1)
        {
            json["saes"] = new System.Text.Json.Nodes.JsonArray([.. layers.Select(l => System.Text.Json.Nodes.JsonValue.Create(l.Sae?.Identity))]);
        }

        return CanonicalJson.Write(json);
    }

    /// <summary>Blocks of steered rows; the same on each enumeration.</summary>
    internal static IEnumerable<ReadOnlyMemory<float>> SteeredRows(IReadOnlyList<EncodedSequence> sequences, float[][] weights, ResidualStore residuals)
    {
        var d = residuals.Width;
        var buffer = new float[1024 * d];
        var filled = 0;
        long row = 0;
        for (var i = 0; i < sequences.Count; i++)
        {
            for (var t = 0; t < sequences[i].Tokens.Length; t++)
            {
                if (weights[i][t] == 0)
                {
                    continue;
                }

                residuals.Slice(row + t, 1).CopyTo(buffer.AsSpan(filled * d));
                if (++filled == 1024)
                {
                    yield return buffer;
                    filled = 0;
                }
            }

            row += sequences[i].Tokens.Length;
        }

        if (filled > 0)
        {
            yield return buffer.AsMemory(0, filled * d);
        }
    }

    private static SteeringImpact Impact(SteeringVector vector, IReadOnlyList<EncodedSequence> sequences, float[][] weights, ResidualStore residuals, int workers)
    {
        var latents = vector.Kind == VectorKind.Dense
            ? LatentRows.Dense(residuals.Width)
            : new LatentRows(vector.Index, vector.Enc, vector.EncBias, vector.Threshold, vector.Dec, residuals.Width);
        var rows = new List<float>();
        foreach (var block in SteeredRows(sequences, weights, residuals))
        {
            rows.AddRange(block.Span);
            if (rows.Count >= ImpactRows * residuals.Width)
            {
                break;
            }
        }

        return SteeringImpact.Measure(latents, vector.Value, 1, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(rows), workers);
    }

    private static string VectorName(SteeringTrainingOptions options, TrainedLayer layer, TrainedLayer[] layers) => layers.Length == 1 ? VectorName(options) : $"{VectorName(options)}-block{layer.Layer}";

    private static string VectorName(SteeringTrainingOptions options) => options.Name ?? Path.GetFileNameWithoutExtension(options.Output);
}
