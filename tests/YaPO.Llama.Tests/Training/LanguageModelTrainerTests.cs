using System.Text.Json;
using YaPO.Llama.Training;
using YaPO.Llama.Training.LanguageModels;

namespace YaPO.Llama.Tests.Training;

public sealed class LanguageModelTrainerTests
{
    private static readonly LanguageModelOptions Options = new()
    {
        ContextLength = 8, BatchSize = 2, MicroBatch = 1, Steps = 40, WarmupSteps = 5, LearningRate = 1e-3, ValidateEvery = 10,
    };

    private static PackedDocuments Data(ulong seed = 3)
        => new(Enumerable.Range(0, 30).Select(i => Enumerable.Range(0, 5 + (i % 7)).Select(j => (i * 31) + j).ToArray()).ToList(), seed);

    [Fact]
    public void PackedDocuments_OneEpoch_CoversTheStreamOnceAndRowsOverlapByOne()
    {
        var data = Data();
        var rowLength = 9;
        var n = (int)data.RowsPerEpoch(rowLength);
        var rows = new int[n * rowLength];
        data.Fill(0, n, rowLength, rows);

        for (var r = 1; r < n; r++)
        {
            rows[r * rowLength].Should().Be(rows[(r * rowLength) - 1]);
        }

        var seen = Enumerable.Range(0, n).SelectMany(r => rows.Skip((r * rowLength) + (r == 0 ? 0 : 1)).Take(rowLength - (r == 0 ? 0 : 1))).ToList();
        seen.Should().OnlyHaveUniqueItems("every token of this data set is different");
        ((long)seen.Count).Should().BeInRange(data.Tokens - rowLength, data.Tokens);
    }

    [Fact]
    public void PackedDocuments_AnyStep_IsAPureFunctionOfTheStep()
    {
        var forward = Data();
        var jump = Data();
        var a = new int[2 * 9];
        var b = new int[2 * 9];
        for (var step = 0; step < 60; step++)
        {
            forward.Fill(step, 2, 9, a);
        }

        jump.Fill(59, 2, 9, b);
        b.Should().Equal(a);
        Data(4).Fill(59, 2, 9, a);
        a.Should().NotEqual(b, "another seed is another order");
    }

    [Fact]
    public void Run_CancelledTwiceAndResumed_WritesTheBytesOfAnUninterruptedRun()
    {
        using var folder = new TemporaryFolder();
        var whole = folder.File("whole.gguf");
        LanguageModelTrainer.Run(new FakeLanguageModel(), "m", Data(), whole, Options, null, CancellationToken.None);

        var options = Options with { CheckpointFolder = folder.File("checkpoint"), LogPath = folder.File("log.jsonl"), Resume = true };
        var parts = folder.File("parts.gguf");
        foreach (var stopAfter in new[] { 7, 12 })
        {
            using var stop = new CancellationTokenSource();
            using var engine = new FakeLanguageModel { AfterStep = n => { if (n == stopAfter) { stop.Cancel(); } } };
            var run = () => LanguageModelTrainer.Run(engine, "m", Data(), parts, options, null, stop.Token);
            run.Should().Throw<OperationCanceledException>();
            File.Exists(parts).Should().BeFalse();
        }

        using var last = new FakeLanguageModel();
        LanguageModelTrainer.Run(last, "m", Data(), parts, options, null, CancellationToken.None);
        last.StepsRun.Should().Be(40 - 7 - 12);
        File.ReadAllBytes(parts).Should().Equal(File.ReadAllBytes(whole));
        Steps(options.LogPath).Should().Equal(Enumerable.Range(1, 40).Select(i => (long)i));
    }

    [Fact]
    public void Run_EngineThatDiesWithoutWarning_GoesOnFromTheLastCheckpoint()
    {
        using var folder = new TemporaryFolder();
        var whole = folder.File("whole.gguf");
        LanguageModelTrainer.Run(new FakeLanguageModel(), "m", Data(), whole, Options, null, CancellationToken.None);

        var options = Options with { CheckpointFolder = folder.File("checkpoint"), LogPath = folder.File("log.jsonl"), CheckpointSeconds = 0, Resume = true };
        using (var engine = new FakeLanguageModel { AfterStep = n => { if (n == 23) { throw new InvalidOperationException("kill"); } } })
        {
            var run = () => LanguageModelTrainer.Run(engine, "m", Data(), folder.File("x"), options, null, CancellationToken.None);
            run.Should().Throw<InvalidOperationException>();
        }

        File.AppendAllText(options.LogPath, "{\"step\":23,\"lo");
        LanguageModelTrainer.Run(new FakeLanguageModel(), "m", Data(), folder.File("x"), options, null, CancellationToken.None);
        File.ReadAllBytes(folder.File("x")).Should().Equal(File.ReadAllBytes(whole));
        Steps(options.LogPath).Should().Equal(Enumerable.Range(1, 40).Select(i => (long)i));
    }

    [Fact]
    public void Run_CheckpointOfOtherSettings_IsRefused()
    {
        using var folder = new TemporaryFolder();
        var options = Options with { CheckpointFolder = folder.File("checkpoint") };
        LanguageModelTrainer.Run(new FakeLanguageModel(), "m", Data(), folder.File("x"), options, null, CancellationToken.None);

        var again = () => LanguageModelTrainer.Run(new FakeLanguageModel(), "m", Data(), folder.File("x"), options, null, CancellationToken.None);
        again.Should().Throw<YapoException>().WithMessage("*--resume*");
        var other = () => LanguageModelTrainer.Run(new FakeLanguageModel(), "m", Data(), folder.File("x"), options with { Resume = true, LearningRate = 2e-3 }, null, CancellationToken.None);
        other.Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Mismatch);
        var data = () => LanguageModelTrainer.Run(new FakeLanguageModel(), "m", Data(9), folder.File("x"), options with { Resume = true }, null, CancellationToken.None);
        data.Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Mismatch);
    }

    [Fact]
    public void Run_WithValidationRows_LogsValidationLoss()
    {
        using var folder = new TemporaryFolder();
        var options = Options with { LogPath = folder.File("log.jsonl"), ValidationRows = new int[18] };
        var result = LanguageModelTrainer.Run(new FakeLanguageModel(), "m", Data(), folder.File("x"), options, null, CancellationToken.None);
        result.ValidationLoss.Should().BeGreaterThan(18);
        File.ReadLines(options.LogPath).Count(line => line.Contains("validation_loss", StringComparison.Ordinal)).Should().Be(4);
    }

    private static IEnumerable<long> Steps(string path) => File.ReadLines(path).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("step").GetInt64());
}
