using System.CommandLine;
using System.Globalization;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Machine;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation.Reports.Pages;
using YaPO.Llama.Gguf;
using YaPO.Llama.Steering;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Estimates;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>train</c>: learns a steering vector from preference pairs.</summary>
internal static class TrainCommand
{
    internal sealed record Options(SteeringTrainingOptions Training, string Engine, string? TorchType, bool DryRun, bool Json, string? Report);

    public static Command Build(CommandConsole console)
    {
        var defaults = new VectorOptimizerOptions();
        var method = new Option<string>("--method")
        {
            Description = "yapo: preference optimization in an SAE's latents; bipo: the same, dense; caa, sas: mean differences, forward passes only.",
            DefaultValueFactory = _ => "yapo",
            HelpName = "METHOD",
        }.OneOf("yapo", "bipo", "caa", "sas");
        var model = new Option<string>("--model", "-m") { Description = "GGUF model to train on, any quantization (required).", Required = true, HelpName = "FILE" };
        var sae = new Option<string[]>("--sae") { Description = "SAE GGUF; needed by yapo and sas (default: none). Repeated: a vector at each SAE's block, trained together into one file.", HelpName = "FILE" };
        var layer = NumberList.Option("--layer", "Zero-based block whose output is steered, or several separated by commas, as many as --sae (default: those of the SAEs).", "L,L,…");
        var data = new Option<string>("--data") { Description = "Preference pairs, JSON Lines of {prompt, chosen, rejected} (required).", Required = true, HelpName = "FILE.jsonl" };
        var validation = new Option<string?>("--validation-data")
        {
            Description = "Pairs to validate on: the best vector is kept, and training stops early when it no longer improves (default: none).",
            HelpName = "FILE.jsonl",
        };
        var output = SingleOptions.Output("Vector file (.ysv)");
        var name = new Option<string?>("--name") { Description = "Name of the vector (default: the output's file name).", HelpName = "TEXT" };
        var means = new Option<string?>("--positive-means") { Description = "In words, what positive strength does, recorded in the file (default: a general sentence).", HelpName = "TEXT" };
        var steps = SingleOptions.Number("--steps", "Optimizer steps.", defaults.Steps, 1, int.MaxValue, "N");
        var batch = SingleOptions.Number("--batch-size", "Pairs per step.", defaults.BatchSize, 1, 1 << 20, "N");
        var rate = SingleOptions.Number("--learning-rate", "Peak learning rate: the share of a latent's mean activation (dense: of the residual's root mean square) that one step moves.", defaults.LearningRate, 0, 1e6, "X");
        var warmup = SingleOptions.Number("--warmup-steps", "Steps of linear warm-up before the cosine decay.", defaults.WarmupSteps, 0, int.MaxValue, "N");
        var beta = SingleOptions.Number("--beta", "Sharpness of the preference loss, per nat.", defaults.Beta, 0, 1e6, "X");
        var decay = SingleOptions.Number("--weight-decay", "Decoupled weight decay.", defaults.WeightDecay, 0, 1e6, "X");
        var clip = SingleOptions.Number("--gradient-clip", "Largest gradient norm. 0: off.", defaults.GradientClip, 0, 1e6, "X");
        var features = SingleOptions.Number("--max-features", "Latents kept (yapo); the most effective ones are refitted alone. 0: keep all.", defaults.MaxFeatures, 0, 1 << 26, "K");
        features.Aliases.Add("--top-k");
        var refit = SingleOptions.Number("--refit-steps", "Steps of that refit.", defaults.RefitSteps, 0, int.MaxValue, "N");
        var l1 = SingleOptions.Number("--l1", "L1 penalty while training (yapo). 0: off.", defaults.L1, 0, 1e6, "X");
        var validateEvery = SingleOptions.Number("--validate-every", "Steps between validations.", defaults.ValidateEvery, 1, int.MaxValue, "N");
        var patience = SingleOptions.Number("--patience", "Validations without improvement that end training. 0: never.", defaults.Patience, 0, int.MaxValue, "N");
        var seed = new Option<ulong>("--seed") { Description = "Decides data order and directions.", DefaultValueFactory = _ => 0, HelpName = "N" };
        var positions = new Option<string>("--positions") { Description = "Steered positions: all (but BOS), all+bos, prompt, generated, assistant, START-END.", DefaultValueFactory = _ => "all", HelpName = "POSITIONS" };
        var paper = new Option<bool>("--paper-compat") { Description = "Completion as the public YaPO code writes it, \" \" + text + EOS (default: the chat template's own form)." };
        var maxTokens = SingleOptions.Number("--max-tokens", "Longest sequence; longer prompts keep BOS, the template's header and their end.", 1024, 16, 1 << 20, "N");
        var tau = SingleOptions.Number("--tau", "sas: share of one side's examples in which a latent must fire.", 0.7, 0, 1, "X");
        var answer = new Option<string>("--answer-tokens") { Description = "caa, sas: the answer tokens looked at: mean, first or last.", DefaultValueFactory = _ => "mean", HelpName = "WHICH" }.OneOf("mean", "first", "last");
        var strength = SingleOptions.Number("--recommended-strength", "Strength recorded for those who give none; 1 is what was trained.", 1.0, -1e6, 1e6, "X");
        var type = new Option<string>("--type") { Description = "Storage of the decoder rows: f32, bf16 or f16.", DefaultValueFactory = _ => "f32", HelpName = "TYPE" }.OneOf("f32", "bf16", "f16");
        var checkpointOptions = new CheckpointOptions(30);
        var engine = new Option<string>("--engine") { Description = "What computes gradients: ggml, on the model as it is, by the CPU or the --device; torch, on a TorchSharp float copy, by the CPU or a CUDA device (in builds with it).", DefaultValueFactory = _ => GradientEngine.Ggml, HelpName = "ENGINE" }.OneOf(GradientEngine.Ggml, GradientEngine.Torch);
        var torchType = new Option<string>("--torch-type") { Description = "Weights of the float copy of --engine torch: f32 or bf16 (default: f32).", HelpName = "TYPE" }.OneOf("f32", "bf16");
        var dryRun = new Option<bool>("--dry-run") { Description = "Measure one pair, print what the run would take in time and memory, write nothing." };
        var json = SingleOptions.Json();
        var report = SingleOptions.Report();
        var engineOptions = new EngineOptions();
        var command = new Command("train", "Learn a steering vector from preference pairs.")
        {
            method, model, sae, layer, data, validation, output, name, means, steps, batch, rate, warmup, beta, decay, clip, features, refit, l1, validateEvery, patience, seed,
            positions, paper, maxTokens, tau, answer, strength, type, engine, torchType, dryRun, json, report,
        };
        checkpointOptions.AddTo(command);
        engineOptions.AddTo(command, withContext: false);
        command.Validators.Add(result =>
        {
            var (layers, saes) = (result.Numbers(layer), result.GetValue(sae) ?? []);
            if (layers.Any(l => l is < 0 or > 100_000 || l != Math.Floor(l)))
            {
                result.AddError("--layer takes whole block numbers from 0");
            }

            if (layers.Count > 0 && saes.Length > 0 && layers.Count != saes.Length)
            {
                result.AddError($"--layer names {layers.Count} blocks, but there are {saes.Length} SAEs; give one --sae per block, in the same order, or leave --layer out");
            }

            var how = result.Value(method, "yapo");
            var (gradients, sparse) = (how is "yapo" or "bipo", how is "yapo" or "sas");
            result.RefuseBeside(!gradients, $"--method {how}, which takes means and no steps", steps, batch, rate, warmup, beta, decay, clip, validation, validateEvery, patience);
            checkpointOptions.RefuseLog(result, !gradients, $"--method {how}, which takes no steps");
            result.RefuseBeside(how != "yapo", $"--method {how}", features, refit, l1);
            result.RefuseBeside(how == "yapo" && result.Value(features, defaults.MaxFeatures) == 0, "--max-features 0, which keeps all latents", refit);
            result.RequireBeside(gradients && result.GetValue(validation) is null, "--validation-data FILE.jsonl", validateEvery, patience);
            result.RefuseBeside(how != "sas", $"--method {how}", tau);
            result.RefuseBeside(gradients, $"--method {how}, which trains on whole answers", answer);
            result.RefuseBeside(!sparse, $"--method {how}, whose vector is dense", type);
            result.RefuseBeside(!sparse && layers.Count > 0, $"--layer, which names the block: --method {how} needs no SAE", sae);
        });
        return command.Handle(
            console,
            parsed =>
            {
                var settings = engineOptions.Read(parsed);
                var checkpoints = checkpointOptions.Read(parsed);
                var (layers, saes) = (parsed.Numbers(layer), parsed.GetValue(sae) ?? []);
                var blocks = Enumerable.Range(0, Math.Max(1, Math.Max(layers.Count, saes.Length)))
                    .Select(i => (Layer: i < layers.Count ? (int)layers[i] : (int?)null, Sae: i < saes.Length ? saes[i] : null)).ToArray();
                return new Options(
                    new SteeringTrainingOptions
                    {
                        Method = Enum.Parse<SteeringMethod>(parsed.GetValue(method)!, ignoreCase: true),
                        Model = parsed.GetRequiredValue(model),
                        Sae = blocks[0].Sae,
                        Layer = blocks[0].Layer,
                        FurtherLayers = blocks[1..],
                        Data = parsed.GetRequiredValue(data),
                        ValidationData = parsed.GetValue(validation),
                        Output = parsed.GetRequiredValue(output),
                        Name = parsed.GetValue(name),
                        PositiveMeans = parsed.GetValue(means) ?? "prefers the chosen answers of the training pairs",
                        Positions = SteeringPositions.Parse(parsed.GetValue(positions)!),
                        Format = parsed.GetValue(paper) ? PairFormat.PaperCompatible : PairFormat.Template,
                        MaxTokens = parsed.GetValue(maxTokens),
                        Tau = parsed.GetValue(tau),
                        AnswerTokens = Enum.Parse<AnswerTokens>(parsed.GetValue(answer)!, ignoreCase: true),
                        RecommendedStrength = parsed.GetValue(strength),
                        DecoderType = parsed.GetValue(type) switch { "f32" => GgmlType.F32, "bf16" => GgmlType.BF16, _ => GgmlType.F16 },
                        CheckpointFolder = checkpoints.Folder,
                        CheckpointSeconds = checkpoints.Seconds,
                        Resume = checkpoints.Resume,
                        LogPath = checkpoints.LogPath,
                        Threads = settings.Threads,
                        ModelOptions = settings.ModelOptions,
                        Optimizer = new VectorOptimizerOptions
                        {
                            Steps = parsed.GetValue(steps),
                            BatchSize = parsed.GetValue(batch),
                            LearningRate = parsed.GetValue(rate),
                            WarmupSteps = parsed.GetValue(warmup),
                            Beta = parsed.GetValue(beta),
                            WeightDecay = parsed.GetValue(decay),
                            GradientClip = parsed.GetValue(clip),
                            MaxFeatures = parsed.GetValue(features),
                            RefitSteps = parsed.GetValue(refit),
                            L1 = parsed.GetValue(l1),
                            ValidateEvery = parsed.GetValue(validateEvery),
                            Patience = parsed.GetValue(patience),
                            Seed = parsed.GetValue(seed),
                        },
                    },
                    parsed.GetValue(engine)!,
                    parsed.GetValue(torchType),
                    parsed.GetValue(dryRun),
                    parsed.GetValue(json),
                    parsed.GetValue(report));
            },
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var training = GradientEngine.Choose(options.Training, options.Engine, options.TorchType);
        foreach (var input in Inputs(training))
        {
            if (input is not null)
            {
                InputFile.Require(input);
            }
        }

        LeakCheck.WarnOfValidation(training.Data, training.ValidationData, console);
        if (options.DryRun)
        {
            console.RouteNativeLog();
            var estimate = await Task.Run(() => SteeringRehearsal.Run(training, cancellation), cancellation).ConfigureAwait(false);
            TrainingEstimateReport.Write(estimate, training, options.Json, console);
            return ExitCodes.Success;
        }

        OutputFile.Require(training.Output, Inputs(training));
        if (training.LogPath is { } log)
        {
            OutputFile.Require(log, [.. Inputs(training), training.Output]);
        }

        if (options.Report is { } report)
        {
            OutputFile.Require(report, [.. Inputs(training), training.Output, training.LogPath]);
            training = training with { LogPath = training.LogPath ?? LogFor(training) };
        }

        console.RouteNativeLog();
        console.Note($"reading {Paths.Short(training.Model)} and the data"); // the model is hashed before anything else is done
        var result = await TrainingRun.RunAsync(
            console, training.Output, training.CheckpointFolder, progress => SteeringTrainer.Train(training, console.Note, progress, cancellation)).ConfigureAwait(false);
        WriteReport(options, training, console);
        Write(result, training, options.Json, console);
        return ExitCodes.Success;
    }

    private static string?[] Inputs(SteeringTrainingOptions training) => [training.Model, training.Data, training.Sae, training.ValidationData, .. training.FurtherLayers.Select(l => l.Sae)];

    /// <summary>Where the log of a report goes that nobody asked to keep: beside the checkpoint, so that a resumed run still has its first steps.</summary>
    private static string LogFor(SteeringTrainingOptions training) => training.CheckpointFolder is { } folder
        ? Path.Combine(Directory.CreateDirectory(folder).FullName, "log.jsonl")
        : Path.Combine(Path.GetTempPath(), $"yapo-{Guid.NewGuid():N}.jsonl");

    private static void WriteReport(Options options, SteeringTrainingOptions training, CommandConsole console)
    {
        if (options.Report is not { } path)
        {
            return;
        }

        ReportHtml.Save(path, TrainingPage.Of(
            File.Exists(training.LogPath) ? File.ReadAllLines(training.LogPath) : [],
            training.Name ?? Path.GetFileNameWithoutExtension(training.Output),
            [
                ("method", training.MethodName), ("model", training.Model), .. training.Sae is { } sae ? [("SAE", sae)] : Array.Empty<(string, string)>(), ("training data", training.Data),
                .. training.ValidationData is { } validation ? [("validation data", validation)] : Array.Empty<(string, string)>(), ("vector", training.Output),
            ]));
        if (options.Training.LogPath is null && training.CheckpointFolder is null)
        {
            File.Delete(training.LogPath!);
        }

        console.Note($"wrote {path}");
    }

    private static void Write(SteeringTrainingResult result, SteeringTrainingOptions training, bool json, CommandConsole console)
    {
        var vectors = result.File.Vectors;
        var optimized = result.Optimized;
        var pruning = optimized?.Sparsification;
        if (json)
        {
            console.WriteJson(new
            {
                training.Output,
                result.Bytes,
                Method = training.MethodName,
                vectors[0].Layer,
                Support = vectors.Sum(Support),
                result.ActiveLatents,
                result.Pairs,
                result.ValidationPairs,
                result.Shortened,
                result.NegativeMass,
                HNormMean = vectors[0].HNormMean,
                result.Impact,
                Steps = optimized?.Steps,
                DivergedAt = optimized?.DivergedAt,
                Validation = optimized?.Validation,
                Sparsification = pruning,
                result.Seconds,
                Vectors = vectors.Zip(result.Impacts, (v, impact) => new { v.Name, v.Layer, Support = Support(v), v.NegativeMass, v.HNormMean, Impact = impact }),
            });
            return;
        }

        var text = console.Out;
        text.WriteLine(Line($"wrote {training.Output}, {Sizes.Text(result.Bytes)}: {training.MethodName} at layer {string.Join(" and ", vectors.Select(v => v.Layer))}, {string.Join(" and ", vectors.Select(v => v.Kind == VectorKind.Sparse ? $"{v.K} of {v.Sae!.Width} features" : "dense"))}, {result.Seconds:0.0} s"));
        foreach (var (v, impact) in vectors.Zip(result.Impacts))
        {
            var clipping = v.Kind == VectorKind.Sparse
                ? Line($", negative mass {100 * v.NegativeMass:0.0} %, tokens with a clipped feature {100 * impact.ClippedRows:0.0} %, distance from the flattened vector {100 * impact.FlattenGap:0.0} %")
                : ""; // a direction clips nothing and is its own flattened vector
            text.WriteLine(Line($"  at strength 1{(vectors.Count > 1 ? $", block {v.Layer}" : "")}: ‖Δh‖/‖h‖ {100 * impact.RelativeMean:0.0} %{clipping}"));
        }

        if (pruning is not null)
        {
            text.WriteLine(Line($"  kept {pruning.Kept} of {pruning.Features} features: loss {pruning.Before.Loss:0.0000} → {pruning.Pruned.Loss:0.0000} pruned → {pruning.Refitted.Loss:0.0000} refitted; accuracy {100 * pruning.Before.Accuracy:0.0} % → {100 * pruning.Pruned.Accuracy:0.0} % → {100 * pruning.Refitted.Accuracy:0.0} %"));
        }

        if (optimized?.Validation is { } validation)
        {
            text.WriteLine(Line($"  validation: loss {validation.Loss:0.0000}, margin {validation.Margin:0.00} nats, accuracy {100 * validation.Accuracy:0.0} %"));
        }

        if (optimized?.DivergedAt > 0)
        {
            console.Warn(Line($"training diverged at step {optimized.DivergedAt}; the best vector on the validation pairs was taken. A lower --learning-rate (now {training.Optimizer.LearningRate}) may do better"));
        }

        if (result.Shortened > 0)
        {
            console.Warn($"{result.Shortened} prompts were longer than --max-tokens {training.MaxTokens} and lost tokens after their header");
        }

        console.Note($"try it: yapo-llama chat --model {Paths.Quoted(training.Model)} --vector {Paths.Quoted(training.Output)}");
    }

    private static int Support(SteeringVector v) => v.Kind == VectorKind.Sparse ? v.K : v.Value.Length;

    private static string Line(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
