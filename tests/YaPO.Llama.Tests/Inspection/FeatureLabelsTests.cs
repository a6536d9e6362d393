using System.IO.Compression;
using System.Text;
using YaPO.Llama.Inspection;
using YaPO.Llama.Tests.Fuzz;

namespace YaPO.Llama.Tests.Inspection;

/// <summary>Labels in the shapes that exports come in, and what is said about the ones that are broken.</summary>
public sealed class FeatureLabelsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("""{"modelId":"gemma-2-2b","layer":"12-res","index":"3","description":" food "}""" + "\n" + """{"index":7,"description":"towns"}""" + "\n")]
    [InlineData("""[{"feature": 3, "label": "food"}, {"feature_id": "7", "explanation": "towns"}, {"featureIndex": 3, "text": "second"}]""")]
    [InlineData("""{"modelId": "m", "explanations": [{"feature": 3, "description": "food"}, {"feature": 7, "description": "towns"}, {"feature": 9, "description": null}]}""")]
    [InlineData("""{"3": "food", "7": "towns"}""")]
    [InlineData("{\n  \"3\": \"food\",\n  \"7\": \"towns\"\n}\n")]
    public void Load_ShapesOfExports_GiveTheSameLabels(string text)
    {
        Check(FeatureLabels.Load(folder.Write("labels.json", text), 10));

        using (var zip = new GZipStream(File.Create(folder.File("labels.gz")), CompressionLevel.Fastest))
        {
            zip.Write(Encoding.UTF8.GetBytes(text));
        }

        Check(FeatureLabels.Load(folder.File("labels.gz"), 10));

        static void Check(IReadOnlyDictionary<int, string> labels) => labels.Should().BeEquivalentTo(new Dictionary<int, string> { [3] = "food", [7] = "towns" });
    }

    [Theory]
    [InlineData("{\"index\": 1, \"description\": \"a\"}\n{\"index\": 2, \"descr\": \"b\"}\n", "line 2")]
    [InlineData("{\"index\": 1, \"description\": \"a\"}\n{\"index\": 2, \"description\"\n", "line 2")]
    [InlineData("{\"index\": 1, \"description\": \"a\"}\n{\"index\": \"x\", \"description\": \"b\"}\n", "line 2")]
    [InlineData("[{\"index\": 1, \"description\": \"a\"}, {\"index\": 1.5, \"description\": \"a\"}]", "record 2")]
    [InlineData("[{\"index\": 1,\n \"description\": }]", "line 2")]
    [InlineData("{\"1\": \"a\", \"b\": \"c\"}", "field 'b'")]
    [InlineData("{\"index\": 10, \"description\": \"a\"}\n{\"index\": 2, \"description\": \"b\"}\n", "line 1: feature 10; the SAE has 0 to 9")]
    [InlineData("[{\"index\": -1, \"description\": \"a\"}]", "feature -1")]
    [InlineData("[]", "no label")]
    [InlineData("7", "expected a record")]
    [InlineData("", "no label")]
    public void Load_Broken_NamesThePlace(string text, string expected)
    {
        var error = FluentActions.Invoking(() => FeatureLabels.Load(folder.Write("labels.json", text), 10)).Should().Throw<YapoException>().Which;

        error.Message.Should().Contain("labels.json").And.Contain(expected);
        error.Kind.Should().BeOneOf(YapoErrorKind.Format, YapoErrorKind.Mismatch);
    }

    [Fact]
    public void Load_MutatedFiles_AreReadOrRefused()
    {
        var seeds = new[]
        {
            "{\"index\": 1, \"description\": \"a\"}\n{\"index\": \"2\", \"description\": \"b\"}\n"u8.ToArray(),
            "{\"explanations\": [{\"feature\": 3, \"description\": \"food\"}]}"u8.ToArray(),
        };
        var mutator = new Mutator(11);
        for (var i = 0; i < 2000; i++)
        {
            try
            {
                FeatureLabels.Load(folder.Write("mutated.json", mutator.Mutate(seeds[i % seeds.Length])), 10).Keys.Should().OnlyContain(k => k >= 0 && k < 10);
            }
            catch (YapoException)
            {
                // refused by name
            }
        }
    }
}
