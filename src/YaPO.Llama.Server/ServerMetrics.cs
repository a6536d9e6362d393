using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using YaPO.Llama.Batching;

namespace YaPO.Llama.Server;

/// <summary>Counters for <c>/metrics</c>, in Prometheus' text format.</summary>
internal sealed class ServerMetrics(BatchEngine engine)
{
    private readonly ConcurrentDictionary<(string Route, int Status), long> responses = new();
    private readonly Lock gate = new();
    private TimeSpan queued;
    private TimeSpan untilFirstToken;
    private long answers;

    /// <summary>A response was written.</summary>
    public void Responded(string route, int status) => responses.AddOrUpdate((route, status), 1, (_, n) => n + 1);

    /// <summary>An answer is complete.</summary>
    public void Answered(AnswerSummary summary)
    {
        lock (gate)
        {
            answers++;
            queued += summary.QueueTime;
            untilFirstToken += summary.QueueTime + summary.PromptTime;
        }
    }

    /// <summary>The whole page.</summary>
    public string Page()
    {
        var s = engine.Statistics;
        var page = new StringBuilder();
        Write("yapo_requests_running", "gauge", "Answers being generated.", s.Running);
        Write("yapo_requests_waiting", "gauge", "Answers waiting for a slot.", s.Waiting);
        Write("yapo_slots", "gauge", "Answers that can be generated at the same time.", engine.Options.Slots);
        Write("yapo_kv_cells_taken", "gauge", "KV cells set aside for running answers or remembered from earlier ones.", s.CellsTaken);
        Write("yapo_kv_cells", "gauge", "KV cells in all.", engine.Cells);
        Write("yapo_vectors_attached", "gauge", "Vectors computed at every token: those in use, and those used a moment ago.", s.AttachedVectors);
        Write("yapo_vector_changes_total", "counter", "How often that set was changed.", s.AttachmentChanges);
        Head("yapo_answers_total", "counter", "Answers by how they ended.");
        Line("yapo_answers_total{outcome=\"finished\"}", s.Finished);
        Line("yapo_answers_total{outcome=\"cancelled\"}", s.Cancelled);
        Line("yapo_answers_total{outcome=\"failed\"}", s.Failed);
        Write("yapo_prompt_tokens_total", "counter", "Prompt tokens evaluated.", s.PromptTokens);
        Write("yapo_cached_tokens_total", "counter", "Prompt tokens taken from the cache.", s.CachedTokens);
        Write("yapo_generated_tokens_total", "counter", "Tokens generated.", s.GeneratedTokens);
        Write("yapo_steps_total", "counter", "Batches decoded.", s.Steps);
        Write("yapo_decode_seconds_total", "counter", "Time in decoding.", s.DecodeTime.TotalSeconds);
        lock (gate)
        {
            Head("yapo_time_to_first_token_seconds", "summary", "From the request to its first token.");
            Line("yapo_time_to_first_token_seconds_sum", untilFirstToken.TotalSeconds);
            Line("yapo_time_to_first_token_seconds_count", answers);
            Head("yapo_queue_seconds", "summary", "From the request to its slot.");
            Line("yapo_queue_seconds_sum", queued.TotalSeconds);
            Line("yapo_queue_seconds_count", answers);
        }

        Head("yapo_http_responses_total", "counter", "Responses by route and status.");
        foreach (var ((route, status), count) in responses.OrderBy(r => r.Key.Route, StringComparer.Ordinal).ThenBy(r => r.Key.Status))
        {
            Line($"yapo_http_responses_total{{route=\"{route}\",status=\"{status}\"}}", count);
        }

        return page.ToString();

        void Head(string name, string type, string help) => page.Append("# HELP ").Append(name).Append(' ').Append(help).Append("\n# TYPE ").Append(name).Append(' ').Append(type).Append('\n');
        void Line(string name, double value) => page.Append(name).Append(' ').Append(value.ToString("R", CultureInfo.InvariantCulture)).Append('\n');
        void Write(string name, string type, string help, double value)
        {
            Head(name, type, help);
            Line(name, value);
        }
    }
}
