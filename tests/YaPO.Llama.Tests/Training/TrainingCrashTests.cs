using System.Diagnostics;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Randomness;

namespace YaPO.Llama.Tests.Training;

/// <summary>Training where the power fails at any moment, and where the disk is full: nothing is lost, and the result is the same bytes.</summary>
public sealed class TrainingCrashTests : IDisposable
{
    private const int Kills = 20;
    private const int Steps = 60;
    private readonly TinyWorld _world = new();

    public void Dispose() => _world.Dispose();

    [Theory]
    [InlineData(1)]
    public void Train_KilledAtTwentyRandomMoments_WritesTheBytesOfAnUninterruptedRun(ulong seed)
    {
        // Enough sequences that a third of the kills fall into the capture.
        var lines = File.ReadAllLines(_world.Data);
        File.WriteAllLines(_world["many.jsonl"], Enumerable.Range(0, 150).Select(i => lines[i % lines.Length].Replace("eat", $"eat {i} times", StringComparison.Ordinal)));
        CliProcess.Run(_world.Folder, "", Train("whole.ysv")).ExitCode.Should().Be(0);
        string[] parts = [.. Train("parts.ysv"), "--checkpoint", "state", "--checkpoint-every", "0", "--resume", "--log", "log.jsonl"];
        var random = new SeededRandom(seed, "kills");
        var (inCapture, inTraining, finished) = (0, 0, 0);
        for (var kill = 0; kill < Kills; kill++)
        {
            using var run = CliProcess.Start(_world.Folder, parts);

            // The moment: some sequences or some steps from here, then a few hundred microseconds, so that it falls anywhere within them.
            var (capturing, moment, dawdle) = (kill < Kills / 3, 1 + random.Next(kill < Kills / 3 ? 30 : 4), random.Next(3000));
            var (start, steps) = (Captured(), LogLines());
            while (run.Running && (capturing ? Captured() < start + moment : LogLines() < steps + moment))
            {
                Thread.Yield();
            }

            for (var watch = Stopwatch.StartNew(); watch.Elapsed.TotalMicroseconds < dawdle;)
            {
                Thread.SpinWait(10);
            }

            (inCapture, inTraining, finished) = (inCapture + (LogLines() == 0 && run.Running ? 1 : 0), inTraining + (LogLines() > 0 && run.Running ? 1 : 0), finished + (run.Running ? 0 : 1));
            run.Kill();
            run.WaitForExit();
            File.Exists(_world["parts.ysv"]).Should().Be(finished > 0);
        }

        inCapture.Should().BeGreaterThan(2);
        inTraining.Should().BeGreaterThan(5);
        var end = CliProcess.Run(_world.Folder, "", parts);
        end.ExitCode.Should().Be(0, end.Error);
        File.ReadAllBytes(_world["parts.ysv"]).Should().Equal(File.ReadAllBytes(_world["whole.ysv"]));
        LogLines().Should().Be(Steps * 6 / 5);
        var left = Directory.GetFiles(_world["state"]).Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal).ToList();
        left.Should().HaveCount(2, "what the kills left behind is gone").And.HaveElementAt(0, "checkpoint.json");
        left[1].Should().StartWith($"state-{Steps * 6 / 5:D8}");
    }

    [OwnMountFact]
    public void Train_DiskFullWhileCheckpointing_KeepsTheLastCheckpointAndSaysWhatIsNeeded()
    {
        // A small disk of its own, filled to the last byte while the run writes a checkpoint at every step; then the folder is copied off it.
        const string script = """
            mount -t tmpfs -o size=8m none "$1" || exit 77
            checkpoint="$1"; shift
            "$@" 2> error.txt & run=$!
            until [ -e "$checkpoint/checkpoint.json" ]; do kill -0 $run || break; sleep 0.01; done
            dd if=/dev/zero of="$checkpoint/filler" bs=1k 2> /dev/null
            wait $run; code=$?
            rm -f "$checkpoint/filler"; cp -r "$checkpoint" rescued
            exit $code
            """;
        Directory.CreateDirectory(_world["state"]);
        File.Copy(_world.Data, _world["many.jsonl"]);
        string[] parts = [.. Train("parts.ysv", steps: 1000), "--checkpoint", "state", "--checkpoint-every", "0", "--resume"];
        var code = Run("unshare", ["--map-root-user", "--mount", "bash", "-c", script, "bash", "state", CliProcess.Executable, .. parts]);
        var error = File.ReadAllText(_world["error.txt"]);
        code.Should().Be(3, error);
        error.Should().MatchRegex("cannot write .*(state-|checkpoint)").And.MatchRegex("takes \\d+ bytes; \\d+ are free").And.Contain("The checkpoint before it is whole").And.Contain("--resume").And.NotContain("   at ");
        File.Exists(_world["parts.ysv"]).Should().BeFalse();
        var whole = CliProcess.Run(_world.Folder, "", Train("whole.ysv", steps: 1000));
        whole.ExitCode.Should().Be(0, whole.Error);
        parts[Array.IndexOf(parts, "state")] = "rescued";
        var end = CliProcess.Run(_world.Folder, "", parts);
        end.ExitCode.Should().Be(0, end.Error);
        File.ReadAllBytes(_world["parts.ysv"]).Should().Equal(File.ReadAllBytes(_world["whole.ysv"]));
    }

    [Fact]
    public void Train_NoRoomForResiduals_IsRefusedBeforeAnythingIsComputed()
    {
        if (OperatingSystem.IsWindows())
        {
            return; // the limit is a shell's
        }

        File.Copy(_world.Data, _world["many.jsonl"]);
        var run = CliProcess.RunWithFileLimit(_world.Folder, 8, [.. Train("other.ysv"), "--checkpoint", "other"]);
        run.ExitCode.Should().Be(3, run.Error);
        run.Error.Should().MatchRegex("\\d+ bytes for the residuals").And.Contain("residuals-0.f32").And.Contain("another disk").And.NotContain("   at ");
    }

    private int Run(string program, string[] args)
    {
        using var process = Process.Start(new ProcessStartInfo(program, args) { WorkingDirectory = _world.Folder })!;
        process.WaitForExit();
        return process.ExitCode;
    }

    private string[] Train(string output, int steps = Steps) =>
    [
        "train", "--model", _world.Model, "--sae", _world.Sae, "--layer", "0", "--data", "many.jsonl", "--output", output, "--steps", $"{steps}", "--refit-steps", $"{steps / 5}",
        "--batch-size", "2", "--learning-rate", "0.02", "--max-features", "16", "--threads", "1", "--seed", "5", "--name", "v",
    ];

    private long Captured()
    {
        var hashes = new FileInfo(Path.Combine(_world["state"], "residuals-0.sha256"));
        return hashes.Exists ? Math.Max(0, (hashes.Length / 32) - 1) : 0;
    }

    private int LogLines()
    {
        try
        {
            using var reader = new StreamReader(new FileStream(_world["log.jsonl"], FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
            return reader.ReadToEnd().Count(c => c == '\n');
        }
        catch (FileNotFoundException)
        {
            return 0;
        }
    }
}
