using YaPO.Llama.Cli.Machine;

namespace YaPO.Llama.Tests.Cli;

public class MachineLoadTests
{
    [Theory]
    [InlineData(0.2, 8, 0)]
    [InlineData(3.0, 8, 4)]
    [InlineData(30.0, 2, 1)]
    public void Warning_EnoughCores_OrNothingToGain_IsSilent(double load, int cores, int threads) =>
        MachineLoad.Warning(load, cores, threads).Should().BeNull();

    [Theory]
    [InlineData(6.0, 8, 0, "--threads 2")]
    [InlineData(7.5, 8, 8, "--threads 1")]
    [InlineData(2.0, 2, 0, "--threads 1")]
    public void Warning_Oversubscribed_NamesAThreadCount(double load, int cores, int threads, string expected) =>
        MachineLoad.Warning(load, cores, threads).Should().Contain(expected);

    [Fact]
    public void Warning_UnknownLoad_IsSilent() => MachineLoad.Warning(null, 2, 0).Should().BeNull();

    [Theory]
    [InlineData("1.25 0.80 0.55 3/812 4711\n", 1.25)]
    [InlineData("nonsense", null)]
    public void Parse_LoadAverage_IsTheFirstNumber(string text, double? expected) => MachineLoad.Parse(text).Should().Be(expected);
}
