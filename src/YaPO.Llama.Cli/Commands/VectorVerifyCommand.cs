using System.CommandLine;
using System.Text.RegularExpressions;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Machine;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector verify</c>: whether a vector file belongs to a model (and an SAE) and can act there.</summary>
internal static partial class VectorVerifyCommand
{
    internal sealed record Options(string File, string Model, string? Sae, EngineSettings Engine, bool Json);

    public static Command Build(CommandConsole console)
    {
        var file = SingleOptions.File("A .ysv or control-vector GGUF; a bare name is also looked for in the model folders.");
        var model = new Option<string>("--model", "-m") { Description = "GGUF model to check against (required).", Required = true, HelpName = "FILE" };
        var sae = new Option<string?>("--sae") { Description = "SAE GGUF whose rows the vector should carry (default: none, rows are not compared).", HelpName = "SAE.gguf" };
        var engine = new EngineOptions();
        var json = SingleOptions.Json();
        var command = new Command("verify", "Check a vector file against a model: fingerprint, d_model, layer, hook, values, chat template, strengths.") { file, model, sae };
        engine.AddTo(command, withContext: false);
        command.Options.Add(json);
        return command.Handle(
            console,
            parsed => new Options(parsed.GetRequiredValue(file), parsed.GetRequiredValue(model), parsed.GetValue(sae), engine.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var path = ModelLocator.Create().ResolveVector(options.File);
        InputFile.Require(options.Model);
        using var sae = options.Sae is { } saePath ? SaeFile.Open(saePath) : null;
        var checks = Check(options, path, sae, console, cancellation);
        var failed = checks.Count(c => c.Status == CheckStatus.Failed);
        if (options.Json)
        {
            console.WriteJson(new
            {
                File = path,
                options.Model,
                options.Sae,
                Ok = failed == 0,
                Checks = checks.Select(c => new { c.Name, Status = Word(c.Status).ToLowerInvariant(), c.Expected, c.Found }),
            });
        }
        else
        {
            console.WriteTable(["check", "result", "expected", "found"], checks.Select(c => (IReadOnlyList<string>)[c.Name, Word(c.Status), Short(c.Expected), Short(c.Found)]));
            console.Out.WriteLine(failed == 0 ? $"{Paths.Short(path)} fits {Paths.Short(options.Model)}" : $"{failed} of {checks.Count} checks failed");
        }

        return Task.FromResult(failed == 0 ? ExitCodes.Success : ExitCodes.BadInput);
    }

    private static List<VectorCheck> Check(Options options, string path, SaeFile? sae, CommandConsole console, CancellationToken cancellation)
    {
        SteeringFile file;
        try
        {
            file = SteeringFile.Load(path);
        }
        catch (YapoException e)
        {
            return [new VectorCheck("file", CheckStatus.Failed, "a whole vector file with finite values", e.Message)];
        }

        var identity = ModelFingerprint.Compute(options.Model);
        List<VectorCheck> checks =
        [
            new("file", CheckStatus.Ok, "a whole vector file with finite values", $"{file.Vectors.Count} vector{(file.Vectors.Count > 1 ? "s" : "")}"),
            .. VectorVerification.AgainstModel(file, identity),
            .. VectorVerification.Content(file),
        ];
        if (sae is not null)
        {
            checks.AddRange(VectorVerification.AgainstSae(file, sae));
        }

        cancellation.ThrowIfCancellationRequested();
        using var model = console.LoadModel(options.Model, options.Engine.ModelOptions, cancellation);
        checks.AddRange(VectorVerification.Attached(file, model, sae));
        return checks;
    }

    // Nobody reads 64 digits, and two columns of them burst most terminals; --json has them whole.
    private static string Short(string text) => Sha256().Replace(text, m => m.Value[..16] + "…");

    [GeneratedRegex("[0-9a-f]{64}")]
    private static partial Regex Sha256();

    private static string Word(CheckStatus status) => status switch
    {
        CheckStatus.Ok => "ok",
        CheckStatus.Failed => "FAILED",
        _ => "unknown",
    };
}
