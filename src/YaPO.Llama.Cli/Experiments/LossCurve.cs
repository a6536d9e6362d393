using System.Text.Json;
using YaPO.Llama.Evaluation.Methods;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>The losses of a training log: on validation pairs where they were measured, else of the batches.</summary>
internal static class LossCurve
{
    /// <summary>Reads the log; a missing one (caa, sas) has no points.</summary>
    public static List<LossPoint> Read(string path)
    {
        var (batches, validations) = (new List<LossPoint>(), new List<LossPoint>());
        foreach (var line in File.Exists(path) ? File.ReadLines(path) : [])
        {
            try
            {
                using var json = JsonDocument.Parse(line);
                var step = json.RootElement.GetProperty("step").GetInt64();
                Add(batches, json.RootElement, step, "loss");
                Add(validations, json.RootElement, step, "validation_loss");
            }
            catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
            {
                throw new YapoException(YapoErrorKind.Format, $"{path} is not a training log: {e.Message}", e);
            }
        }

        return validations.Count > 0 ? validations : batches;
    }

    private static void Add(List<LossPoint> points, JsonElement line, long step, string name)
    {
        if (line.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number)
        {
            points.Add(new LossPoint(step, value.GetDouble()));
        }
    }
}
