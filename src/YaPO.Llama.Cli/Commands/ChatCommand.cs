using System.CommandLine;
using YaPO.Llama.Cli.Chat;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>chat</c>: talk to the steered model.</summary>
internal static class ChatCommand
{
    private const int DefaultMaxTokens = 512;
    private const int DefaultContext = 4096;

    internal sealed record Options(
        string? System, bool Compare, bool KeepCache, SteeringSettings Steering, EngineSettings Engine, SamplingSettings Sampling);

    public static Command Build(CommandConsole console)
    {
        var system = new Option<string?>("--system") { Description = "Instructions in front of the conversation (default: none).", HelpName = "TEXT" };
        var compare = new Option<bool>("--compare") { Description = "Start with /compare on: every answer steered and unsteered (default: off)." };
        var keepCache = new Option<bool>("--keep-cache")
        {
            Description = "When steering changes, keep what was computed under the old steering: faster, but no longer what a fresh run gives (default: evaluate again).",
        };
        var steering = new SteeringOptions(modelRequired: false, saeUse: ", and whose features /feature turns");
        var sampling = new SamplingOptions(DefaultMaxTokens);
        var engine = new EngineOptions();
        var command = new Command("chat", "Talk to the steered model; /help inside lists commands.") { system, compare, keepCache };
        steering.AddTo(command);
        sampling.AddTo(command);
        engine.AddTo(command);
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetValue(system), parsed.GetValue(compare), parsed.GetValue(keepCache),
                steering.Read(parsed), engine.Read(parsed), sampling.Read(parsed)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        using var steered = SteeredModel.Open(options.Steering, options.Engine, console, cancellation);
        if (!steered.Model.HasChatTemplate)
        {
            throw new YapoException(
                YapoErrorKind.Unsupported,
                $"{steered.Model.Path} has no chat template: it is a base model, which continues text and does not answer. Use 'yapo-llama generate --raw -p TEXT', or an instruction-tuned model");
        }

        using var features = new FeatureSource(options.Steering.Sae, steered.Vectors, steered.Model);
        var steering = new ChatSteering(steered.Vectors, features);
        using var session = new SteeredSession(
            steered.Model,
            new SessionOptions { Context = steered.ContextFor(DefaultContext), System = options.System, KeepCache = options.KeepCache },
            steering.Settings);
        if (console.IsInputInteractive)
        {
            console.Note("/help lists commands, /quit leaves");
        }

        var loop = new ChatLoop(console, session, steering, features, options.Sampling.ToGeneration(), spec => Load(spec, options, steered), options.Compare);
        return await loop.RunAsync(cancellation).ConfigureAwait(false);
    }

    private static LoadedVector Load(string spec, Options options, SteeredModel steered)
    {
        var vector = LoadedVector.Load(spec, ModelLocator.Create(options.Steering.ModelDirectory), options.Steering.Sae);
        vector.Source.RequireFits(steered.Model.Path, steered.Identity, options.Steering.AllowMismatch);
        return vector;
    }
}
