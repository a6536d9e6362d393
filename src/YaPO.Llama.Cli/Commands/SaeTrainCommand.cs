using System.CommandLine;
using System.Globalization;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Gguf;
using YaPO.Llama.Steering;
using YaPO.Llama.Training;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>sae train</c>: a JumpReLU or TopK SAE of a model's residual stream, from text.</summary>
internal static class SaeTrainCommand
{
    internal sealed record Options(SaeTrainingOptions Training, bool Json);

    public static Command Build(CommandConsole console)
    {
        var defaults = new SaeTrainingOptions { Model = "", Data = "", Layer = 0, Output = "" };
        var model = new Option<string>("--model", "-m") { Description = "GGUF model whose residual stream is encoded (required).", Required = true, HelpName = "FILE" };
        var data = new Option<string>("--data")
        {
            Description = "Text: JSON Lines of {text} or {messages}, or plain text with empty lines between documents (required).",
            Required = true,
            HelpName = "FILE",
        };
        var layer = new Option<int>("--layer") { Description = "Zero-based block whose output is encoded (required).", Required = true, HelpName = "L" }.Within(0, 100_000);
        var output = SingleOptions.Output("SAE GGUF");
        var latents = SingleOptions.Number("--latents", "Latents F.", defaults.Latents, 1, 1 << 26, "F");
        var activation = new Option<string>("--activation")
        {
            Description = "jumprelu: thresholds are learned, latents do not depend on each other; topk: the k largest of each token are active.",
            DefaultValueFactory = _ => "jumprelu",
            HelpName = "NAME",
        }.OneOf("jumprelu", "topk");
        var l0 = SingleOptions.Number("--target-l0", "jumprelu: mean number of active latents per token that the sparsity penalty is steered to.", defaults.TargetL0, 0, 1e6, "X");
        var k = SingleOptions.Number("--k", "topk: active latents per token.", defaults.TopK, 1, 1 << 26, "N");
        var threshold = new Option<bool>("--as-threshold")
        {
            Description = "topk: write a JumpReLU SAE with one threshold, measured on the text so that k latents are active on average (default: topk). A vector then needs only the latents it steers.",
        };
        var rows = SingleOptions.Number("--rows", "Token positions to train on; the text is repeated as needed.", defaults.Rows, 64, long.MaxValue, "N");
        var batch = SingleOptions.Number("--batch-size", "Rows per step.", defaults.BatchSize, 64, 1 << 20, "N");
        var rate = SingleOptions.Number("--learning-rate", "Peak learning rate of Adam, on rows of unit variance.", defaults.LearningRate, 0, 1e3, "X");
        var bandwidth = SingleOptions.Number("--bandwidth", "Width of the threshold's straight-through kernel, in standard deviations of the rows.", defaults.Bandwidth, 0, 1e3, "X");
        var resample = SingleOptions.Number("--resample-every", "Steps between resamplings of dead latents. 0: never.", defaults.ResampleEvery, 0, int.MaxValue, "N");
        var evaluation = SingleOptions.Number("--evaluation-rows", "Rows held out for evaluation.", defaults.EvaluationRows, 64, 1 << 24, "N");
        var block = SingleOptions.Number("--block-rows", "Rows captured and shuffled at once.", defaults.BlockRows, 64, 1 << 26, "N");
        var maxTokens = SingleOptions.Number("--max-tokens", "Longest window of text in tokens.", defaults.MaxTokens, 2, 1 << 20, "N");
        var seed = new Option<ulong>("--seed") { Description = "Decides everything drawn.", DefaultValueFactory = _ => 0, HelpName = "N" };
        var name = new Option<string?>("--name") { Description = "Name recorded in the file (default: the output's file name).", HelpName = "TEXT" };
        var license = new Option<string?>("--license") { Description = "Licence recorded in the file (default: none).", HelpName = "TEXT" };
        var attribution = new Option<string?>("--attribution") { Description = "Who is to be credited, recorded in the file (default: none).", HelpName = "TEXT" };
        var type = new Option<string>("--type") { Description = "Storage of the decoder rows: f32, f16 or q8_0.", DefaultValueFactory = _ => "f32", HelpName = "TYPE" }.OneOf("f32", "f16", "q8_0");
        var checkpointOptions = new CheckpointOptions(60);
        var json = SingleOptions.Json();
        var engineOptions = new EngineOptions();
        var command = new Command("train", "Train an SAE on the residual stream of a model: any architecture that has the layer hook (see doctor).")
        {
            model, data, layer, output, latents, activation, l0, k, threshold, rows, batch, rate, bandwidth, resample, evaluation, block, maxTokens, seed, name, license, attribution, type, json,
        };
        checkpointOptions.AddTo(command);
        engineOptions.AddTo(command, withContext: false);
        command.Validators.Add(result =>
        {
            var how = result.Value(activation, "jumprelu");
            result.RefuseBeside(how == "topk", "--activation topk", l0, bandwidth);
            result.RefuseBeside(how == "jumprelu", "--activation jumprelu", k, threshold);
        });
        return command.Handle(
            console,
            parsed =>
            {
                var settings = engineOptions.Read(parsed);
                var checkpoints = checkpointOptions.Read(parsed);
                return new Options(
                    new SaeTrainingOptions
                    {
                        Model = parsed.GetRequiredValue(model),
                        Data = parsed.GetRequiredValue(data),
                        Layer = parsed.GetRequiredValue(layer),
                        Output = parsed.GetRequiredValue(output),
                        Latents = parsed.GetValue(latents),
                        Activation = parsed.GetValue(activation) == "topk" ? SaeActivation.TopK : SaeActivation.JumpRelu,
                        TargetL0 = parsed.GetValue(l0),
                        TopK = parsed.GetValue(k),
                        AsThreshold = parsed.GetValue(threshold),
                        Rows = parsed.GetValue(rows),
                        BatchSize = parsed.GetValue(batch),
                        LearningRate = parsed.GetValue(rate),
                        Bandwidth = parsed.GetValue(bandwidth),
                        ResampleEvery = parsed.GetValue(resample),
                        EvaluationRows = parsed.GetValue(evaluation),
                        BlockRows = parsed.GetValue(block),
                        MaxTokens = parsed.GetValue(maxTokens),
                        Seed = parsed.GetValue(seed),
                        Name = parsed.GetValue(name),
                        License = parsed.GetValue(license) ?? "",
                        Attribution = parsed.GetValue(attribution) ?? "",
                        DecoderType = parsed.GetValue(type) switch { "f32" => GgmlType.F32, "f16" => GgmlType.F16, _ => GgmlType.Q8_0 },
                        CheckpointFolder = checkpoints.Folder,
                        CheckpointSeconds = checkpoints.Seconds,
                        Resume = checkpoints.Resume,
                        LogPath = checkpoints.LogPath,
                        Threads = settings.Threads,
                        ModelOptions = settings.ModelOptions,
                    },
                    parsed.GetValue(json));
            },
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var training = options.Training;
        InputFile.Require(training.Model);
        InputFile.Require(training.Data);
        OutputFile.Require(training.Output, training.Model, training.Data);
        if (training.LogPath is { } log)
        {
            OutputFile.Require(log, training.Model, training.Data, training.Output);
        }

        console.RouteNativeLog();
        var result = await TrainingRun.RunAsync(
            console, training.Output, training.CheckpointFolder, progress => SaeTrainer.Train(training, console.Note, progress, cancellation)).ConfigureAwait(false);
        if (options.Json)
        {
            console.WriteJson(new
            {
                training.Output,
                result.Bytes,
                training.Layer,
                training.Latents,
                Activation = training.WritesTopK ? "topk" : "jumprelu",
                result.ExplainedVariance,
                result.L0,
                result.TrainedExplainedVariance,
                result.TrainedL0,
                result.Dead,
                result.Steps,
                result.Rows,
                result.Seconds,
            });
        }
        else
        {
            console.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"wrote {training.Output}, {Sizes.Text(result.Bytes)}: {training.Latents} latents of layer {training.Layer}; on held-out text explained variance {result.ExplainedVariance:0.000}, L0 {result.L0:0.0}; {result.Dead} dead latents; {result.Rows} rows in {result.Seconds:0} s"));
            if (result.TrainedExplainedVariance is { } trained)
            {
                console.Out.WriteLine(string.Create(
                    CultureInfo.InvariantCulture, $"  trained as topk {training.TopK}: explained variance {trained:0.000}, L0 {result.TrainedL0:0.0}; the file has one threshold for all latents instead"));
            }
            else if (training.WritesTopK)
            {
                console.Note("in a TopK SAE every latent depends on all others, so steering with it computes the whole encoder; --as-threshold writes one whose vectors need only the latents they steer");
            }
        }

        return ExitCodes.Success;
    }
}
