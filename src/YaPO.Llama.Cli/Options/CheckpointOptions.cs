using System.CommandLine;
using System.CommandLine.Parsing;

namespace YaPO.Llama.Cli.Options;

/// <summary>Where a training run keeps its state and its log.</summary>
internal sealed record CheckpointSettings(string? Folder, double Seconds, bool Resume, string? LogPath);

/// <summary>The options of every command that trains: checkpoints, resuming and the log.</summary>
internal sealed class CheckpointOptions
{
    private readonly Option<string?> folder = new("--checkpoint") { Description = "Folder for checkpoints; Ctrl+C saves one there (default: none).", HelpName = "DIR" };

    private readonly Option<double> every;

    private readonly Option<bool> resume = new("--resume") { Description = "Go on from the checkpoint, to the same bytes as an uninterrupted run (default: start anew)." };

    private readonly Option<string?> log = new("--log") { Description = "JSON Lines log of every step (default: none).", HelpName = "FILE.jsonl" };

    /// <param name="seconds">Default time between checkpoints.</param>
    public CheckpointOptions(double seconds) => every = SingleOptions.Number("--checkpoint-every", "Seconds between checkpoints.", seconds, 0, 1e6, "SECONDS");

    public void AddTo(Command command)
    {
        command.Options.Add(folder);
        command.Options.Add(every);
        command.Options.Add(resume);
        command.Options.Add(log);
        command.Validators.Add(parsed =>
        {
            if (parsed.GetValue(resume) && parsed.GetValue(folder) is null)
            {
                parsed.AddError("--resume needs the folder of the checkpoint: --checkpoint DIR");
            }

            parsed.RequireBeside(parsed.GetValue(folder) is null, "--checkpoint DIR", every);
        });
    }

    /// <summary>Refuses the log of a run that takes no steps.</summary>
    public void RefuseLog(CommandResult result, bool idle, string why) => result.RefuseBeside(idle, why, log);

    public CheckpointSettings Read(ParseResult parsed) => new(parsed.GetValue(folder), parsed.GetValue(every), parsed.GetValue(resume), parsed.GetValue(log));
}
