using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>model quantize</c>: writes a model in another quantization through llama.cpp's quantizer.</summary>
internal static class ModelQuantizeCommand
{
    private static readonly TimeSpan MostWaiting = TimeSpan.FromSeconds(3);

    internal sealed record Options(string Input, string Output, string Type, int Threads, bool Json);

    public static Command Build(CommandConsole console)
    {
        var input = new Option<string>("--input", "-i") { Description = "GGUF model to read, best F32, F16 or BF16 (required).", Required = true, HelpName = "FILE" };
        var output = SingleOptions.Output("GGUF file");
        var type = new Option<string>("--type")
        {
            Description = "Quantization: f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0, ….",
            DefaultValueFactory = _ => "q4_k_m",
            HelpName = "TYPE",
        };
        var threads = SingleOptions.Threads();
        var json = SingleOptions.Json();
        var command = new Command("quantize", "Write a model in another quantization.") { input, output, type, threads, json };
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(input), parsed.GetRequiredValue(output), parsed.GetValue(type)!, parsed.GetValue(threads), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        InputFile.Require(options.Input);
        OutputFile.Require(options.Output, options.Input);
        console.RouteNativeLog();
        console.Note($"quantizing {options.Input} to {options.Type}");
        // llama.cpp's quantizer cannot be stopped: on Ctrl+C it is left behind and ends with the process.
        var work = Task.Run(() => LlamaModel.Quantize(options.Input, options.Output, options.Type, options.Threads), CancellationToken.None);
        try
        {
            await work.WaitAsync(cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            RemoveTemporaries(options.Output, work);
            throw;
        }

        var (before, after) = (new FileInfo(options.Input).Length, new FileInfo(options.Output).Length);
        if (options.Json)
        {
            console.WriteJson(new { options.Input, options.Output, options.Type, InputBytes = before, OutputBytes = after });
        }
        else
        {
            console.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"wrote {options.Output}: {options.Type}, {Sizes.Text(after)} (from {Sizes.Text(before)}, {100.0 * after / before:0.0} %)"));
        }

        return ExitCodes.Success;
    }

    // The native side writes "<output>.tmp-<process>-<n>" and renames it. It first creates the file empty to see whether it can, so an empty one
    // may come again after it was removed; one with content is open and stays gone.
    private static void RemoveTemporaries(string output, Task work)
    {
        var full = Path.GetFullPath(output);
        var clock = Stopwatch.StartNew();
        for (var filled = false; !filled && !work.IsCompleted && clock.Elapsed < MostWaiting; Thread.Sleep(10))
        {
            foreach (var file in new DirectoryInfo(Path.GetDirectoryName(full)!).EnumerateFiles($"{Path.GetFileName(full)}.tmp-{Environment.ProcessId}-*"))
            {
                filled |= file.Length > 0;
                file.Delete();
            }
        }
    }
}
