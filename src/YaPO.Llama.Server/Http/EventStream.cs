using System.Buffers;
using Microsoft.AspNetCore.Http;

namespace YaPO.Llama.Server.Http;

/// <summary>Server-sent events: one JSON document per event, flushed at once.</summary>
internal sealed class EventStream(HttpContext http)
{
    private static readonly byte[] Data = "data: "u8.ToArray();
    private static readonly byte[] End = "\n\n"u8.ToArray();
    private static readonly byte[] DoneEvent = "data: [DONE]\n\n"u8.ToArray();

    /// <summary>Whether the client has been told 200: from then on errors are events.</summary>
    public bool Started { get; private set; }

    /// <summary>Sends the headers.</summary>
    public void Start()
    {
        Started = true;
        http.Response.ContentType = "text/event-stream; charset=utf-8";
        http.Response.Headers.CacheControl = "no-cache";
        http.Response.Headers["X-Accel-Buffering"] = "no";
    }

    /// <summary>Sends one event.</summary>
    public Task SendAsync(object value, CancellationToken cancellation) => SendAsync(Json.Bytes(value), cancellation);

    /// <summary>Sends an error, which ends the stream.</summary>
    public Task FailAsync(ApiException error, CancellationToken cancellation) => SendAsync(Json.Error(error), cancellation);

    /// <summary>Sends the last event.</summary>
    public async Task DoneAsync(CancellationToken cancellation)
    {
        await http.Response.Body.WriteAsync(DoneEvent, cancellation).ConfigureAwait(false);
        await http.Response.Body.FlushAsync(cancellation).ConfigureAwait(false);
    }

    private async Task SendAsync(byte[] json, CancellationToken cancellation)
    {
        var body = http.Response.BodyWriter;
        body.Write(Data);
        body.Write(json);
        body.Write(End);
        await body.FlushAsync(cancellation).ConfigureAwait(false);
    }
}
