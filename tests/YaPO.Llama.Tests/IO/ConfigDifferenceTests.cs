using YaPO.Llama.IO;

namespace YaPO.Llama.Tests.IO;

public class ConfigDifferenceTests
{
    [Fact]
    public void Text_NestedSettings_NamesThoseThatDifferAndNoOther() =>
        ConfigDifference.Text("""{"config":{"steps":10,"beta":0.1},"sae":null,"files":["data a","test b"],"seed":1}""", """{"config":{"steps":12,"beta":0.1,"tau":0.7},"sae":"ab","files":["data a","test c"],"seed":1}""")
            .Should().Be("""
                  config.steps: 10 there, 12 in this run
                  config.tau: absent there, 0.7 in this run
                  files[1]: "test b" there, "test c" in this run
                  sae: none there, "ab" in this run
                """);

    [Fact]
    public void Text_NoJson_ShowsBothWhole() => ConfigDifference.Text("{cut", "{}").Should().Contain("{cut").And.Contain("this run: {}");
}
