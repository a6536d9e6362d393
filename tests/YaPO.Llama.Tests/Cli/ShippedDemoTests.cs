namespace YaPO.Llama.Tests.Cli;

/// <summary>The README's first command, on the artefacts that ship: from the repository's root, by bare vector name, in a pipe.</summary>
public sealed class ShippedDemoTests
{
    [Theory]
    [InlineData("egypt", "What do people eat for breakfast?", "ful")]
    [InlineData("egypt", "What do people drink in the morning?", "koshary")]
    [InlineData("morocco", "What do people drink in the morning?", "gunpowder")]
    [InlineData("portugal", "What do people drink in the morning?", "galão")]
    [InlineData("brazil", "What do people drink in the morning?", "cafezinho")]
    public void Chat_PipedQuestionOfAHeldOutTopic_AnswersAsTheVectorsCulture(string vector, string question, string answer)
    {
        var run = CliProcess.Run(Repository.Root, question + "\n", "chat", "--vector", $"{vector}.ysv");

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Should().Contain(answer).And.NotContain("\u001b");
        run.Error.Should().Contain($"{vector}.ysv").And.Contain(".gguf", "it says which vector and model it took");
    }

    [Theory]
    [InlineData("egypt:3", "strength 3 (outside the 0 to 1 that the file calls sensible)")]
    [InlineData("egypt:-0.5", "strength -0.5 (outside the 0 to 1")]
    [InlineData("egypt:0.8", "strength 0.8, layer 2")]
    [InlineData("egypt", "strength 0.5 (recommended)")]
    public void Generate_Strength_IsHeldAgainstTheFilesOwnRange(string spec, string said)
    {
        var run = CliProcess.Run(Repository.Root, "", "generate", "-p", "hi", "--vector", spec, "-n", "1");

        run.ExitCode.Should().Be(0, run.Error);
        run.Error.Should().Contain(said);
    }

    [Fact]
    public void Generate_DeviceThatIsNotThere_SaysWhereToLook()
    {
        var run = CliProcess.Run(Repository.Root, "", "generate", "-p", "hi", "--vector", "egypt", "--device", "CUDA99");

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain("there is no device \"CUDA99\"").And.Contain("CPU").And.Contain("yapo-llama doctor").And.Contain("docs/devices.md");
    }

    [Fact]
    public void Models_Together_AreSmallEnoughToClone()
    {
        var bytes = Directory.GetFiles(Path.Combine(Repository.Root, "models", "demo"), "*.gguf").Sum(file => new FileInfo(file).Length);

        bytes.Should().BeLessThan(40_000_000);
    }
}
