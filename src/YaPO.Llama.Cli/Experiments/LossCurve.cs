using System.Text.Json;
using YaPO.Llama.Evaluation.Methods;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>The losses of a training log: on validation pairs where they were measured, else of the batches.</summary>
internal static class LossCurve
{
    /// <summary>Reads the log; a missing one (caa, sas) has no points.</summary>
    public static List<LossPoint> Read(string path)
    {
        var (batches, validations) = Both(path);
        return validations.Count > 0 ? validations : batches;
    }

    /// <summary>
    /// The loss by which trainings are compared: the least on validation pairs, which is that of a vector that is kept. Without them the mean over the last quarter of the batches: the vector of the
    /// last step is kept, and the least of many noisy losses is luck, which a rate that jumps about has more of.
    /// </summary>
    /// <exception cref="YapoException">The log holds no loss.</exception>
    public static double Reached(string path)
    {
        var (batches, validations) = Both(path);
        return validations.Count > 0 ? validations.Min(p => p.Loss)
            : batches.Count > 0 ? batches.TakeLast((batches.Count + 3) / 4).Average(p => p.Loss)
            : throw new YapoException(YapoErrorKind.Format, $"{path} holds no loss; remove the folder or start without --resume");
    }

    private static (List<LossPoint> Batches, List<LossPoint> Validations) Both(string path)
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

        return (batches, validations);
    }

    private static void Add(List<LossPoint> points, JsonElement line, long step, string name)
    {
        if (line.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number)
        {
            points.Add(new LossPoint(step, value.GetDouble()));
        }
    }
}
