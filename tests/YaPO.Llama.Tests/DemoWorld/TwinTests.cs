using System.Text.Json;
using YaPO.Llama.DemoWorld.Recipe;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.DemoWorld;

/// <summary>The whole recipe at its smallest size: what made models/demo still runs.</summary>
public sealed class TwinTests
{
    [Fact]
    public void Build_CiProfile_MakesEverythingAndResumes()
    {
        var folder = Path.Combine(Path.GetTempPath(), $"yapo-twin-{Guid.NewGuid():N}");
        try
        {
            var said = new List<string>();
            void Say(string line)
            {
                lock (said)
                {
                    said.Add(line);
                }
            }

            var place = new Workplace(Profile.Ci, 1, folder, Path.Combine(folder, ".work"), 2, Say);
            Stages.Run(place, "", CancellationToken.None);

            using var report = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "report.json")));
            var cultures = report.RootElement.GetProperty("cultures").EnumerateArray().ToList();
            cultures.Should().HaveCount(4);
            foreach (var culture in cultures)
            {
                var file = SteeringFile.Load(place.Vector(culture.GetProperty("culture").GetString()!));
                file.Vectors.Should().ContainSingle().Which.K.Should().BeInRange(1, 256);
                file.Evidence.Should().Contain("unsteered");
                culture.GetProperty("unsteered").GetProperty("target").GetProperty("value").GetDouble().Should().BeInRange(0, 1);
            }

            // A model this small knows little; that it learned at all shows in its loss (8 nats per token untrained).
            var losses = File.ReadLines(Path.Combine(folder, ".work", "pretraining.jsonl")).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("loss").GetDouble()).ToList();
            losses[^1].Should().BeLessThan(0.4 * losses[0]);

            // Everything is there, so a second run only looks.
            said.Clear();
            Stages.Run(place, "", CancellationToken.None);
            said.Should().OnlyContain(line => line.Contains("done before", StringComparison.Ordinal));
        }
        finally
        {
            if (Directory.Exists(folder))
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }
}
