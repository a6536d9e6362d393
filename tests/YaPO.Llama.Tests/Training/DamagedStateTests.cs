using System.Globalization;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Tests.Fuzz;

namespace YaPO.Llama.Tests.Training;

/// <summary>
/// What an interrupted command left, damaged before it goes on: it says which file is damaged and what to do, or notices nothing because what was damaged decides nothing, and then
/// writes the bytes of an uninterrupted run. <c>YAPO_FUZZ_PROCESSES</c>: damaged copies per file.
/// </summary>
public sealed class DamagedStateTests : IDisposable
{
    private const int BadInput = 3;
    private static readonly int Cases = int.TryParse(Environment.GetEnvironmentVariable("YAPO_FUZZ_PROCESSES"), CultureInfo.InvariantCulture, out var n) ? n : 2;
    private readonly TinyWorld _world = new();

    public void Dispose() => _world.Dispose();

    [Fact]
    public void Train_DamagedCheckpoint_IsNamedOrDecidesNothing() => Resume(
        "train --model model.gguf --sae sae.gguf --layer 0 --data train.jsonl --output {0} --steps 300 --refit-steps 40 --batch-size 2 --max-features 8 --threads 1 --name v --log log.jsonl",
        " --checkpoint state --checkpoint-every 0 --resume", () => Lines("log.jsonl") >= 30, ["state/checkpoint.json", "state/state-*.bin", "state/residuals-0.f32", "state/residuals-0.sha256"]);

    [Fact]
    public void SaeTrain_DamagedCheckpoint_IsNamedOrDecidesNothing()
    {
        File.WriteAllLines(_world["text.jsonl"], Enumerable.Range(0, 60).Select(i => $$"""{"text": "what is the tea of model {{i}} in the water, user?"}"""));
        Resume(
            "sae train --model model.gguf --data text.jsonl --layer 0 --output {0} --latents 24 --target-l0 4 --rows 12800 --batch-size 64 --block-rows 256 --evaluation-rows 64 --max-tokens 32 --threads 1 --name s --log log.jsonl",
            " --checkpoint state --checkpoint-every 0 --resume", () => Lines("log.jsonl") >= 30, ["state/checkpoint.json", "state/state-*.bin*"]);
    }

    [Fact]
    public void Rejected_DamagedPartialFile_IsNamedOrDecidesNothing()
    {
        File.WriteAllLines(_world["prompts.jsonl"], Enumerable.Range(0, 80).Select(i => $$"""{"prompt": "what is {{i}} of the tea?", "chosen": "the mint"}"""));
        Resume(
            "data rejected --model model.gguf --input prompts.jsonl --output {0} -n 100 --temp 1 --threads 1 --parallel 2", "", () => new FileInfo(_world["parts.out.partial"]) is { Exists: true, Length: > 2000 }, ["parts.out.partial.json", "parts.out.partial"],
            valuesMayChange: true);
    }

    [Fact]
    public void Tune_DamagedMeasurementsOrVectors_AreNamed()
    {
        string Questions(int first) => string.Concat(Enumerable.Range(first, 4).Select(i => $"{{\"prompt\": \"what is {i} here?\", \"options\": [\"the tea\", \"a user\"], \"answer\": {i % 2}, \"topic\": \"t{i}\"}}\n"));
        File.WriteAllText(_world["questions.jsonl"], Questions(0));
        File.WriteAllText(_world["test.jsonl"], Questions(4));
        File.WriteAllText(_world["knowledge.jsonl"], Questions(8));
        File.WriteAllText(_world["neutral.txt"], "what is the model of the user in the water?\n\nthe user eats what the model is.\n");
        Resume(
            "tune --model model.gguf --sae sae.gguf --data train.jsonl --validation questions.jsonl --test test.jsonl --neutral neutral.txt --validation-knowledge knowledge.jsonl --kl-budget 0.02 --max-features 8,16 " +
            "--steps 20 --refit-steps 5 --batch-size 2 --learning-rate 0.05 --threads 1 --workers 1 --coarse-items 2 --name v --output {0}",
            " --checkpoint state --resume", () => Lines("state/measurements.jsonl") >= 6, ["state/measurements.jsonl", "state/vectors/*.ysv"], valuesMayChange: true);
    }

    /// <summary>Runs a command whole, kills another in the middle, and lets it go on from damaged copies of what it left.</summary>
    /// <param name="command">Words between blanks; {0} stands for the output.</param>
    /// <param name="resuming">What is added to a command that can be gone on with.</param>
    /// <param name="killWhen">When there is something to go on with.</param>
    /// <param name="files">Patterns of what is damaged, one file at a time.</param>
    /// <param name="valuesMayChange">The file is text that a person may edit and holds no sum of itself: another number or letter in it is another number or letter in the result.</param>
    private void Resume(string command, string resuming, Func<bool> killWhen, string[] files, bool valuesMayChange = false)
    {
        string[] Args(string output, string more) => [.. string.Format(CultureInfo.InvariantCulture, command + more, output).Split(' ')];
        var whole = CliProcess.Run(_world.Folder, "", Args("whole.out", ""));
        whole.ExitCode.Should().Be(0, whole.Error);
        File.Delete(_world["log.jsonl"]);
        using (var killed = CliProcess.Start(_world.Folder, Args("parts.out", resuming)))
        {
            killed.WaitUntil(_ => killWhen(), "something to go on with");
            killed.Kill();
        }

        File.Exists(_world["parts.out"]).Should().BeFalse("it was killed too late");
        using var rest = new TemporaryFolder();
        Copy(_world.Folder, rest.Path);
        var (wrong, refused, ran) = (new List<string>(), 0, 0);
        foreach (var pattern in files)
        {
            var found = Directory.GetFiles(rest.Path, pattern);
            found.Should().NotBeEmpty(pattern);
            var mutator = new Mutator(7);
            for (var i = 0; i < Cases; i++)
            {
                var file = Path.GetRelativePath(rest.Path, found[i % found.Length]);
                using var copy = new TemporaryFolder();
                Copy(rest.Path, copy.Path);
                File.WriteAllBytes(copy.File(file), mutator.Mutate(File.ReadAllBytes(rest.File(file))));
                var run = CliProcess.Run(copy.Path, "", Args("parts.out", resuming));
                (ran, refused) = (ran + 1, refused + (run.ExitCode == 0 ? 0 : 1));
                var same = run.ExitCode == 0 && File.ReadAllBytes(copy.File("parts.out")).AsSpan().SequenceEqual(File.ReadAllBytes(_world["whole.out"]));
                var named = run.ExitCode == BadInput && run.Error.Contains(Path.GetFileName(file), StringComparison.Ordinal) && !run.Error.Contains("unexpected", StringComparison.Ordinal);
                if (!same && !named && !(valuesMayChange && run.ExitCode == 0))
                {
                    wrong.Add($"{file}, case {i}: exit code {run.ExitCode}{(run.ExitCode == 0 ? ", other bytes than an uninterrupted run" : "")}\n{run.Error}");
                }
            }
        }

        wrong.Should().BeEmpty();
        refused.Should().BePositive($"of {ran} damaged files, or the mutator is too tame");
    }

    private static void Copy(string from, string to)
    {
        foreach (var folder in Directory.GetDirectories(from, "*", SearchOption.AllDirectories))
        {
            Directory.CreateDirectory(Path.Combine(to, Path.GetRelativePath(from, folder)));
        }

        foreach (var file in Directory.GetFiles(from, "*", SearchOption.AllDirectories))
        {
            File.Copy(file, Path.Combine(to, Path.GetRelativePath(from, file)));
        }
    }

    private int Lines(string name)
    {
        try
        {
            using var reader = new StreamReader(new FileStream(_world[name], FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
            return reader.ReadToEnd().Count(c => c == '\n');
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
