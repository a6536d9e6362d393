using System.Text;
using Microsoft.AspNetCore.Http;
using YaPO.Llama.Batching;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Server.Requests;
using YaPO.Llama.Server.Vectors;

namespace YaPO.Llama.Server.Api;

/// <summary>Runs the answers of a request and writes them, at once or as a stream.</summary>
internal sealed class CompletionEndpoint(BatchEngine engine, VectorCatalog vectors, ServerMetrics metrics)
{
    /// <summary>Answers every prompt <see cref="GenerationRequest.Choices"/> times; answer i belongs to prompt i / n.</summary>
    public async Task AnswerAsync(HttpContext http, GenerationRequest request, string model, IReadOnlyList<PromptTokens> prompts, ICompletionShape shape, string client)
    {
        var answers = Answers.Submit(engine, prompts.SelectMany(prompt => Enumerable.Range(0, request.Choices).Select(choice => request.ForEngine(prompt, choice, client))));
        var head = new Completion(shape.IdPrefix + Guid.NewGuid().ToString("N"), request.Stream ? shape.ChunkObject : shape.Object, DateTimeOffset.UtcNow.ToUnixTimeSeconds(), model, []);
        if (request.Stream)
        {
            await StreamAsync(http, answers, head, request, shape).ConfigureAwait(false);
        }
        else
        {
            await WriteAsync(http, answers, head, request, shape).ConfigureAwait(false);
        }
    }

    private List<ActingVector> Acting(GenerationRequest request) => [.. vectors.Describe(request.Steering).Select(s => new ActingVector(s.Vector, s.Strength, s.Positions?.ToString()))];

    private async Task WriteAsync(HttpContext http, Answers answers, Completion head, GenerationRequest request, ICompletionShape shape)
    {
        var texts = Enumerable.Range(0, answers.Count).Select(_ => new StringBuilder()).ToArray();
        var tokens = Enumerable.Range(0, answers.Count).Select(_ => new List<SampledToken>()).ToArray();
        var ends = new AnswerSummary[answers.Count];
        await foreach (var (index, piece, end) in answers.ReadAsync(http.RequestAborted).ConfigureAwait(false))
        {
            if (end is not null)
            {
                ends[index] = end;
                metrics.Answered(end);
                continue;
            }

            texts[index].Append(piece.Text);
            tokens[index].AddRange(piece.LogProbs);
        }

        var whole = head with
        {
            Choices = [.. texts.Select((text, i) => shape.Whole(i, text.ToString(), request.TopLogProbs is null ? null : tokens[i], Words.Of(ends[i].Finish)))],
            Usage = Usage.Of(ends, request.Choices),
            Timings = Timings.Of(ends[0]),
            Steering = Acting(request),
        };
        http.Response.ContentType = "application/json; charset=utf-8";
        await http.Response.Body.WriteAsync(Json.Bytes(whole), http.RequestAborted).ConfigureAwait(false);
    }

    private async Task StreamAsync(HttpContext http, Answers answers, Completion head, GenerationRequest request, ICompletionShape shape)
    {
        var cancellation = http.RequestAborted;
        var events = new EventStream(http);
        var begun = new bool[answers.Count];
        var ends = new AnswerSummary[answers.Count];
        try
        {
            await foreach (var (index, piece, end) in answers.ReadAsync(cancellation).ConfigureAwait(false))
            {
                if (!events.Started)
                {
                    events.Start(); // not before: a request that fails in the queue still gets its own status
                }

                if (end is not null)
                {
                    ends[index] = end;
                    metrics.Answered(end);
                }
                else if (begun[index] && piece.Text.Length == 0 && piece.LogProbs.Count == 0)
                {
                    continue;
                }

                var logprobs = request.TopLogProbs is null || end is not null ? null : piece.LogProbs;
                var choice = shape.Piece(index, piece.Text ?? "", !begun[index], logprobs, end is null ? null : Words.Of(end.Finish));
                begun[index] = true;
                await events.SendAsync(head with { Choices = [choice], Timings = end is null ? null : Timings.Of(end), Steering = end is null ? null : Acting(request) }, cancellation).ConfigureAwait(false);
            }

            if (request.IncludeUsage)
            {
                await events.SendAsync(head with { Usage = Usage.Of(ends, request.Choices) }, cancellation).ConfigureAwait(false);
            }

            await events.DoneAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (events.Started && !cancellation.IsCancellationRequested && ApiException.From(e) is var error)
        {
            // Too late for a status. A stream cut off by a shutdown is one, too: cancelled, but not by the client.
            await events.FailAsync(error ?? new ApiException(503, "the server was shut down before the answer was complete", code: "stopping"), cancellation).ConfigureAwait(false);
        }
    }
}
