using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using YaPO.Llama.Cli.Benchmarks;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Machine;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation.Reports.Pages;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>bench steering</c>: what the steering kernel adds to a token, every arm checked first and then stepped in turn.</summary>
internal static class BenchSteeringCommand
{
    internal sealed record Options(
        string Model, string? Sae, int? Layer, IReadOnlyList<int> Supports, IReadOnlyList<int> Sequences, DecoderRowType Rows, int PromptTokens, int AnswerTokens, int Rounds, EngineSettings Engine, bool Json, string? Report);

    public static Command Build(CommandConsole console)
    {
        var model = new Option<string>("--model", "-m") { Description = "GGUF model (required).", Required = true, HelpName = "FILE" };
        var sae = new Option<string?>("--sae") { Description = "Also time this SAE's whole encoding and its read-out, at its own layer (default: none).", HelpName = "FILE" };
        var layer = new Option<int?>("--layer") { Description = "Zero-based block of the random sparse vectors (default: the middle one).", HelpName = "L" }.Within(0, 100_000);
        var supports = new Option<string>("--supports") { Description = "Features (K) of the sparse vectors, one arm each.", DefaultValueFactory = _ => "64,256,1024,4096,16384", HelpName = "K,K,…" };
        var sequences = new Option<string>("--sequences") { Description = "Sequences of a batch in which each has a vector of its own, one pair of arms each.", DefaultValueFactory = _ => "8,32", HelpName = "N,N,…" };
        var rows = new Option<string>("--rows") { Description = "Decoder rows on the device: f32, f16, bf16 or q8_0.", DefaultValueFactory = _ => "f16", HelpName = "TYPE" }.OneOf("f32", "f16", "bf16", "q8_0");
        var prompt = SingleOptions.Number("--prompt-tokens", "Tokens of the prompts of one prefill.", 128, 2, 65536, "N");
        var answer = SingleOptions.Number("--max-tokens", "Tokens decoded after each prefill.", 16, 1, 65536, "N");
        answer.Aliases.Add("-n");
        var rounds = SingleOptions.Number("--rounds", "Rounds; in each, every arm does one prefill and the decoding, a step at a time in turn.", 10, 1, 100_000, "N");
        var engine = new EngineOptions();
        var (json, report) = (SingleOptions.Json(), SingleOptions.Report());
        var command = new Command("steering", "What steering adds to prefill and decoding: checked against an oracle first, then timed in one process, a step of each arm in turn.") { model, sae, layer, supports, sequences, rows, prompt, answer, rounds, json, report };
        engine.AddTo(command, withContext: false);
        return command.Handle(
            console,
            parsed => new Options(
                InputFile.Require(parsed.GetValue(model)!), parsed.GetValue(sae), parsed.GetValue(layer), Numbers("--supports", parsed.GetValue(supports)!, 16384), Numbers("--sequences", parsed.GetValue(sequences)!, 256),
                Enum.Parse<DecoderRowType>(parsed.GetValue(rows)!, ignoreCase: true), parsed.GetValue(prompt), parsed.GetValue(answer), parsed.GetValue(rounds), engine.Read(parsed), parsed.GetValue(json), parsed.GetValue(report)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        using var model = console.LoadModel(options.Model, options.Engine.ModelOptions, cancellation);
        using var sae = options.Sae is { } file ? SaeFile.Open(InputFile.Require(file)) : null;
        var threads = options.Engine.Threads > 0 ? options.Engine.Threads : model.Info.ParameterCount < ContextOptions.SmallModel ? 1 : 0;
        if (MachineLoad.Warning(MachineLoad.Average(), Environment.ProcessorCount, threads) is { } busy)
        {
            console.Warn(busy);
        }

        var layer = options.Layer ?? model.Info.LayerCount / 2;
        var arms = SteeringArms.Create(model, layer, options.Supports, options.Sequences, options.Rows, sae);
        var lanes = new List<SteeringLane>();
        try
        {
            foreach (var arm in arms)
            {
                cancellation.ThrowIfCancellationRequested();
                lanes.Add(new SteeringLane(model, arm, (options.PromptTokens, options.AnswerTokens + 4), threads)); // 4: what the checks decode
            }

            var checks = SteeringCheck.Run(lanes);
            if (checks.FirstOrDefault(c => !c.Passed) is { } wrong)
            {
                throw new YapoException(YapoErrorKind.Failed, string.Create(CultureInfo.InvariantCulture, $"'{wrong.Arm}' computes something else, so it is not timed: {wrong.Compared} differ by {wrong.Error:0.##e0}, {wrong.Allowed:0.##e0} is allowed"));
            }

            console.Note($"{checks.Count} checks passed before timing: strength 0 is unsteered bit for bit, corrections agree with double precision, dense vectors with llama.cpp's control vector");
            var (prefill, decode) = (new SteeringTimes(arms.Count), new SteeringTimes(arms.Count));
            Measure(lanes, options, prefill, decode, console, cancellation);
            var result = new SteeringBenchResult
            {
                Model = options.Model,
                Description = model.Info.Description,
                Device = options.Engine.Describe(),
                Layer = layer,
                Rows = options.Rows.ToString(),
                PromptTokens = options.PromptTokens,
                AnswerTokens = options.AnswerTokens,
                Rounds = options.Rounds,
                Threads = threads,
                Cores = Environment.ProcessorCount,
                Load = MachineLoad.Average(),
                Program = typeof(BenchSteeringCommand).Assembly.GetCustomAttributes(false).OfType<System.Reflection.AssemblyInformationalVersionAttribute>().FirstOrDefault()?.InformationalVersion ?? "",
                Checks = checks,
                Arms = SteeringBenchResult.Rank(arms, ModelWork.Of(options.Model), prefill, decode),
            };
            Write(result, options, console);
            return Task.FromResult(ExitCodes.Success);
        }
        finally
        {
            lanes.ForEach(l => l.Dispose());
        }
    }

    // In a new order at every step: an arm that always followed the same one would always find the caches as that one leaves them.
    private static void Measure(List<SteeringLane> lanes, Options options, SteeringTimes prefill, SteeringTimes decode, CommandConsole console, CancellationToken cancellation)
    {
        using var progress = console.Progress("measuring", options.Rounds + 1, "rounds");
        for (var round = -1; round < options.Rounds; round++)
        {
            var warm = round >= 0; // the first round warms up
            if (warm)
            {
                prefill.BeginRound();
                decode.BeginRound();
            }

            for (var step = -1; step < options.AnswerTokens; step++)
            {
                var times = step < 0 ? prefill : decode;
                int[] order = [.. Enumerable.Range(0, lanes.Count)];
                new Random((round * 65_537) + step).Shuffle(order);
                var (wall, processor) = (new double[lanes.Count], new double[lanes.Count]);
                foreach (var i in order)
                {
                    cancellation.ThrowIfCancellationRequested();
                    var (start, before) = (Stopwatch.GetTimestamp(), Environment.CpuUsage.TotalTime);
                    if (step < 0)
                    {
                        lanes[i].Prefill(round);
                    }
                    else
                    {
                        lanes[i].Step(round);
                    }

                    (wall[i], processor[i]) = (Stopwatch.GetElapsedTime(start).TotalSeconds, (Environment.CpuUsage.TotalTime - before).TotalSeconds);
                }

                if (warm)
                {
                    times.Wall.Add(wall);
                    times.Processor.Add(processor);
                }
            }

            progress.Report(round + 2);
        }
    }

    private static void Write(SteeringBenchResult result, Options options, CommandConsole console)
    {
        if (options.Report is { } path)
        {
            ReportHtml.Save(path, SteeringBenchPage.Of(result));
            console.Note($"wrote {path}");
        }

        if (options.Json)
        {
            console.WriteJson(result);
            return;
        }

        console.Note($"{result.Rounds} rounds of {result.PromptTokens} + {result.AnswerTokens} tokens, {result.Threads} threads; medians of the ratios to the unsteered step beside it, [95 % by bootstrap over rounds]; CPU: processor time of this process");
        console.WriteTable(SteeringBenchPage.Headers, result.Arms.Select(SteeringBenchPage.Row));
    }

    private static List<int> Numbers(string name, string list, int most)
    {
        var numbers = new List<int>();
        foreach (var part in list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (!int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var n) || n < 1 || n > most)
            {
                throw new YapoException(YapoErrorKind.InvalidArgument, string.Create(CultureInfo.InvariantCulture, $"{name} '{list}': '{part}' is no number from 1 to {most}"));
            }

            numbers.Add(n);
        }

        return numbers;
    }
}
