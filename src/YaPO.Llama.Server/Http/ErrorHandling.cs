using System.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace YaPO.Llama.Server.Http;

/// <summary>Turns whatever goes wrong into OpenAI's error JSON, and counts responses.</summary>
internal sealed class ErrorHandling(Access access, ServerMetrics metrics, ILogger log)
{
    public async Task InvokeAsync(HttpContext http, RequestDelegate next)
    {
        var start = Stopwatch.GetTimestamp();
        try
        {
            if (access.Headers(http))
            {
                return;
            }

            access.Check(http);
            await next(http).ConfigureAwait(false);
            if (!http.Response.HasStarted && http.Response.StatusCode is 404 or 405)
            {
                await WriteAsync(http, new ApiException(
                    http.Response.StatusCode,
                    http.Response.StatusCode == 404 ? $"there is nothing at {http.Request.Path}" : $"{http.Request.Path} does not take {http.Request.Method}",
                    code: http.Response.StatusCode == 404 ? "not_found" : "method_not_allowed")).ConfigureAwait(false);
            }
        }
#pragma warning disable CA1031 // the last place before Kestrel's own, which would say nothing
        catch (Exception e)
#pragma warning restore CA1031
        {
            await FailAsync(http, e).ConfigureAwait(false);
        }
        finally
        {
            var status = http.RequestAborted.IsCancellationRequested ? 499 : http.Response.StatusCode; // 499: the client left
            metrics.Responded(Route(http), status);
            log.LogInformation("{Method} {Route} {Status} in {Milliseconds:0} ms", http.Request.Method, Route(http), status, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }
    }

    private async Task FailAsync(HttpContext http, Exception e)
    {
        if (http.RequestAborted.IsCancellationRequested)
        {
            return; // nobody is there to read it
        }

        var error = ApiException.From(e) ?? new ApiException(503, "the server was shut down before the answer was complete", code: "stopping");
        if (error.Status >= 500 && e is not ApiException and not OperationCanceledException)
        {
            log.LogError(e, "{Method} {Path} failed", http.Request.Method, http.Request.Path.Value);
        }

        if (http.Response.HasStarted)
        {
            http.Abort(); // the client must not take what it got for the whole
            return;
        }

        await WriteAsync(http, error).ConfigureAwait(false);
    }

    private static async Task WriteAsync(HttpContext http, ApiException error)
    {
        http.Response.StatusCode = error.Status;
        http.Response.ContentType = "application/json; charset=utf-8";
        if (error.Status == StatusCodes.Status401Unauthorized)
        {
            http.Response.Headers.WWWAuthenticate = "Bearer";
        }

        if (error.Status is StatusCodes.Status429TooManyRequests or StatusCodes.Status503ServiceUnavailable)
        {
            http.Response.Headers.RetryAfter = "1";
        }

        await http.Response.Body.WriteAsync(Json.Error(error), http.RequestAborted).ConfigureAwait(false);
    }

    /// <summary>The route's pattern, not the path: paths are the caller's and without number.</summary>
    private static string Route(HttpContext http) => (http.GetEndpoint() as Microsoft.AspNetCore.Routing.RouteEndpoint)?.RoutePattern.RawText ?? "other";
}
