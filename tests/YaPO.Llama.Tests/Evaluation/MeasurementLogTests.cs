using YaPO.Llama.Evaluation.Runs;

namespace YaPO.Llama.Tests.Evaluation;

public sealed class MeasurementLogTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private string File => _folder.File("m.jsonl");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Get_AfterReopening_IsWhatWasMeasured()
    {
        double[] values = [Math.PI, 1e-300, -0.0, double.NaN, double.PositiveInfinity, 1.0 / 3];
        using (var log = MeasurementLog.Open(File, "{}", resume: false))
        {
            log.Get("a \"quoted\" λ", () => values).Should().Equal(values);
        }

        using var again = MeasurementLog.Open(File, "{}", resume: true);
        again.Get<double[]>("a \"quoted\" λ", () => throw new InvalidOperationException("measured twice")).Should().Equal(values);
        (again.Made, again.Count).Should().Be((0, 1));
    }

    [Fact]
    public void Open_CutAtAnyByte_KeepsEveryWholeLine()
    {
        using (var log = MeasurementLog.Open(File, "{\"x\":1}", resume: false))
        {
            for (var i = 0; i < 4; i++)
            {
                log.Get($"k{i}", () => i);
            }
        }

        var bytes = System.IO.File.ReadAllBytes(File);
        for (var length = "{\"x\":1}\n".Length; length <= bytes.Length; length++)
        {
            System.IO.File.WriteAllBytes(File, bytes[..length]);
            using var log = MeasurementLog.Open(File, "{\"x\":1}", resume: true);
            for (var i = 0; i < 4; i++)
            {
                log.Get($"k{i}", () => i).Should().Be(i, $"cut at {length}");
            }
        }
    }

    [Fact]
    public void Open_OtherSettingsOrWithoutResumeOrDamaged_IsRefused()
    {
        using (var log = MeasurementLog.Open(File, "{\"x\":1}", resume: true))
        {
            log.Get("a", () => 1);
            log.Get("b", () => 2);
        }

        Refused("{\"x\":2}", true, YapoErrorKind.Mismatch, "other settings");
        Refused("{\"x\":1}", false, YapoErrorKind.InvalidArgument, "--resume");
        System.IO.File.WriteAllText(File, System.IO.File.ReadAllText(File).Replace("{\"key\":\"a\"", "{\"kex\":\"a\"", StringComparison.Ordinal));
        Refused("{\"x\":1}", true, YapoErrorKind.Format, "line 2");
        void Refused(string config, bool resume, YapoErrorKind kind, string part) =>
            ((Action)(() => MeasurementLog.Open(File, config, resume))).Should().Throw<YapoException>().Where(e => e.Kind == kind).WithMessage($"*{part}*");
    }
}
