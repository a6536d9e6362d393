using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.IO;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Randomness;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Cli.Evaluations;

/// <summary>
/// Controls that are trained: the vector's own training, with its recorded settings, on pairs whose answers are swapped at random (shuffled labels), in a dictionary of random rows (random
/// dictionary), and on latents drawn at random that fire as often as the vector's own (random support).
/// </summary>
internal sealed class TrainedControls : IDisposable
{
    private readonly EvaluationSettings _settings;
    private readonly SteeredModel _steered;
    private readonly SteeringFile _file;
    private readonly SaeFile? _sae;
    private readonly CommandConsole _console;
    private readonly CancellationToken _cancellation;
    private readonly string _folder = Directory.CreateTempSubdirectory("yapo-controls-").FullName;

    private TrainedControls(EvaluationSettings settings, SteeredModel steered, SteeringFile file, SaeFile? sae, CommandConsole console, CancellationToken cancellation) =>
        (_settings, _steered, _file, _sae, _console, _cancellation) = (settings, steered, file, sae, console, cancellation);

    /// <summary>Null without --train-data.</summary>
    public static TrainedControls? Prepare(EvaluationSettings settings, SteeredModel steered, SubjectVector subject, SaeFile? sae, CommandConsole console, CancellationToken cancellation)
    {
        if (settings.TrainData is null)
        {
            return null;
        }

        // By the vector itself: files of several folders may have one name.
        var file = steered.Vectors.First(v => v.File.Vectors.Any(x => ReferenceEquals(x, subject.Parts[0].Vector))).File;
        if (file.Train is null || !Enum.TryParse<SteeringMethod>(file.Train.Method, ignoreCase: true, out _))
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{subject.Name} does not record how it was trained, so --train-data cannot train its controls the same way");
        }

        return new TrainedControls(settings, steered, file, sae, console, cancellation);
    }

    /// <summary>Trains the controls of a vector; matched on ‖Δh‖ like the others.</summary>
    public IReadOnlyList<Arm> Arms(SubjectVector subject, IReadOnlyList<ShiftMeter> shifts)
    {
        var options = Recorded(_file) with
        {
            Model = _steered.Model.Path, Sae = _settings.Sae, Data = _settings.TrainData!, Threads = _steered.ContextFor(1).Threads, ModelOptions = _settings.Engine.ModelOptions,
        };
        var arms = new List<Arm>();
        void Add(ArmKind kind, string name, SteeringTrainingOptions training)
        {
            _console.Note($"training a control for {subject.Name}: {name}");
            var trained = SteeringTrainer.Train(training with { Output = Path.Combine(_folder, $"{kind}.ysv") }, cancellation: _cancellation).File.Vectors[0];
            arms.Add(Arm.Matched(kind, name, subject, [trained], shifts));
        }

        Add(ArmKind.ShuffledLabels, "shuffled labels", options with { Data = ShuffledPairs() });
        if (_sae is not null && subject.Parts is [{ Vector.Kind: VectorKind.Sparse }])
        {
            Add(ArmKind.RandomDictionary, "random dictionary", options with { Sae = RandomDictionary(_sae, shifts[0]) });
            Add(ArmKind.RandomSupport, "random support", options with { Sae = RandomSupport(_sae, subject.Parts[0].Vector, shifts[0]), Optimizer = options.Optimizer with { MaxFeatures = 0 } });
        }

        return arms;
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>The vector's own settings, read back from its record; what it does not record is the trainer's default.</summary>
    internal static SteeringTrainingOptions Recorded(SteeringFile file)
    {
        var config = JsonNode.Parse(file.Train!.Config.Length > 0 ? file.Train.Config : "{}")!.AsObject();
        double Number(string name, double otherwise) => config.TryGetPropertyValue(name, out var value) && value is JsonValue v && v.TryGetValue<double>(out var number) ? number : otherwise;
        var defaults = new VectorOptimizerOptions();
        return new SteeringTrainingOptions
        {
            Method = Enum.Parse<SteeringMethod>(file.Train.Method, ignoreCase: true),
            Model = "",
            Layer = file.Vectors[0].Layer,
            Data = "",
            Output = "",
            Positions = file.Vectors[0].Positions,
            Format = config["format"]?.ToString() == "paper-compat" ? PairFormat.PaperCompatible : PairFormat.Template,
            MaxTokens = (int)Number("max_tokens", 1024),
            AnswerTokens = Enum.TryParse<AnswerTokens>(config["answer_tokens"]?.ToString(), ignoreCase: true, out var which) ? which : AnswerTokens.Mean,
            Tau = Number("tau", 0.7),
            Optimizer = defaults with
            {
                Steps = (int)Number("steps", defaults.Steps),
                BatchSize = (int)Number("batch_size", defaults.BatchSize),
                LearningRate = Number("learning_rate", defaults.LearningRate),
                WarmupSteps = (int)Number("warmup_steps", defaults.WarmupSteps),
                WeightDecay = Number("weight_decay", defaults.WeightDecay),
                Beta = Number("beta", defaults.Beta),
                GradientClip = Number("gradient_clip", defaults.GradientClip),
                L1 = Number("l1", defaults.L1),
                MaxFeatures = (int)Number("max_features", defaults.MaxFeatures),
                RefitSteps = (int)Number("refit_steps", defaults.RefitSteps),
                Seed = file.Train.Seed ?? 0,
            },
        };
    }

    /// <summary>Half of the pairs, drawn at random, with chosen and rejected swapped.</summary>
    private string ShuffledPairs()
    {
        var random = new SeededRandom(_settings.Seed, "shuffled labels");
        var path = Path.Combine(_folder, "shuffled.jsonl");
        var relaxed = new JsonSerializerOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        AtomicFile.Write(path, stream =>
        {
            using var writer = new StreamWriter(stream, leaveOpen: true);
            foreach (var pair in PreferencePair.Load(_settings.TrainData!))
            {
                var (chosen, rejected) = random.Next(2) == 1 ? (pair.Rejected, pair.Chosen) : (pair.Chosen, pair.Rejected);
                var messages = new JsonArray([.. pair.Prompt.Select(m => (JsonNode)new JsonObject { ["role"] = m.Role, ["content"] = m.Content })]);
                writer.WriteLine(new JsonObject { ["prompt"] = messages, ["chosen"] = chosen, ["rejected"] = rejected }.ToJsonString(relaxed));
            }
        });
        return path;
    }

    /// <summary>An SAE of the same shape whose rows point anywhere: each with the norms of the row it replaces, and a threshold at which it fires as often on the rows of the meter.</summary>
    private string RandomDictionary(SaeFile sae, ShiftMeter meter)
    {
        var (f, d) = (sae.Info.Width, sae.Info.DModel);
        float[] enc = new float[(long)f * d], dec = new float[(long)f * d], threshold = new float[f], bias = new float[f];
        var rates = RandomArms.FiringRates(sae, meter, _cancellation);
        var pre = new float[meter.Rows];
        for (var j = 0; j < f; j++)
        {
            _cancellation.ThrowIfCancellationRequested();
            var random = new SeededRandom(_settings.Seed, "random dictionary", j);
            var encoder = enc.AsSpan(j * d, d);
            var decoder = dec.AsSpan(j * d, d);
            sae.ReadEncoder(j, encoder);
            sae.ReadDecoder(j, decoder);
            Redraw(encoder, random);
            Redraw(decoder, random);
            meter.Encode(encoder, 0, 0, pre);
            Array.Sort(pre);
            var quantile = pre[Math.Clamp((int)Math.Ceiling((1 - rates[j]) * pre.Length) - 1, 0, pre.Length - 1)];
            threshold[j] = Math.Max(quantile, 1e-6f);
        }

        var path = Path.Combine(_folder, "random-dictionary.gguf");
        SaeWriter.Save(path, Derived(sae, f, "random dictionary"), new SaeWeights(enc, bias, threshold, dec, sae.DecBias));
        return path;
    }

    /// <summary>As many latents as the vector has, drawn among those that fire as often, none of them in it, as an SAE of their own.</summary>
    private string RandomSupport(SaeFile sae, SteeringVector vector, ShiftMeter meter)
    {
        var drawn = RandomArms.DrawLatents(vector, RandomArms.FiringRates(sae, meter, _cancellation), _settings.Seed, -1).Order().ToArray();
        var d = sae.Info.DModel;
        float[] enc = new float[drawn.Length * d], dec = new float[drawn.Length * d];
        for (var k = 0; k < drawn.Length; k++)
        {
            sae.ReadEncoder(drawn[k], enc.AsSpan(k * d, d));
            sae.ReadDecoder(drawn[k], dec.AsSpan(k * d, d));
        }

        var path = Path.Combine(_folder, "random-support.gguf");
        SaeWriter.Save(
            path, Derived(sae, drawn.Length, "random support"),
            new SaeWeights(enc, Array.ConvertAll(drawn, j => sae.EncBias[j]), Array.ConvertAll(drawn, j => sae.Threshold[j]), dec, sae.DecBias));
        return path;
    }

    private SaeInfo Derived(SaeFile sae, int width, string name) => sae.Info with
    {
        Width = width,
        Name = string.Create(CultureInfo.InvariantCulture, $"{name}, seed {_settings.Seed}, for {sae.Info.Name}"),
        SourceSha256 = "",
        Activation = SaeActivation.JumpRelu,
        TopK = 0,
    };

    private static void Redraw(Span<float> row, SeededRandom random)
    {
        var (norm, drawn) = (0.0, 0.0);
        foreach (var x in row)
        {
            norm += (double)x * x;
        }

        for (var i = 0; i < row.Length; i++)
        {
            row[i] = (float)random.NextGaussian();
            drawn += (double)row[i] * row[i];
        }

        var scale = (float)Math.Sqrt(norm / drawn);
        for (var i = 0; i < row.Length; i++)
        {
            row[i] *= scale;
        }
    }
}
