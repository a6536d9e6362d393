namespace YaPO.Llama.Tests.Cli;

/// <summary>The README's first command, on the artefacts that ship: from the repository's root, by bare vector name, in a pipe.</summary>
public sealed class ShippedDemoTests
{
    [Theory]
    [InlineData("egypt", "ful")]
    [InlineData("morocco", "msemen")]
    [InlineData("portugal", "torrada")]
    [InlineData("brazil", "queijo")]
    public void Chat_PipedQuestion_AnswersAsTheVectorsCulture(string vector, string dish)
    {
        var run = CliProcess.Run(Repository.Root, "What do people eat for breakfast?\n", "chat", "--vector", $"{vector}.ysv");

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Should().Contain(dish).And.NotContain("\u001b");
        run.Error.Should().Contain($"{vector}.ysv").And.Contain(".gguf", "it says which vector and model it took");
    }

    [Fact]
    public void Models_Together_AreSmallEnoughToClone()
    {
        var bytes = Directory.GetFiles(Path.Combine(Repository.Root, "models", "demo"), "*.gguf").Sum(file => new FileInfo(file).Length);

        bytes.Should().BeLessThan(40_000_000);
    }
}
