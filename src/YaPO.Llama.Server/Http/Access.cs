using System.Net;
using Microsoft.AspNetCore.Http;

namespace YaPO.Llama.Server.Http;

/// <summary>Who may call what: keys, the host that was addressed, other sites' pages.</summary>
internal sealed class Access(ServerOptions options, bool loopback)
{
    private const string ClientItem = "yapo.client";
    private readonly ApiKeys keys = new(options.ApiKeys);

    /// <summary>Whose request it is; set by <see cref="Check"/>.</summary>
    public static string Client(HttpContext http) => (string?)http.Items[ClientItem] ?? "";

    /// <summary>Refuses what must not be served.</summary>
    /// <exception cref="ApiException">401 or 403.</exception>
    public void Check(HttpContext http)
    {
        if (loopback && !IsOurs(http.Request.Host.Host))
        {
            // A foreign name that resolves to this machine is how a web page gets around the browser's same-origin rule.
            throw new ApiException(403, $"this server listens for this machine only and was addressed as '{http.Request.Host.Host}'; allow the name with --allow-host", code: "host_not_allowed");
        }

        if (http.Request.Path.StartsWithSegments("/v1") || http.Request.Path.StartsWithSegments("/metrics"))
        {
            http.Items[ClientItem] = keys.Client(http);
        }
    }

    /// <summary>Headers of every response; true when a preflight was answered and nothing else is to be done.</summary>
    public bool Headers(HttpContext http)
    {
        var headers = http.Response.Headers;
        headers.XContentTypeOptions = "nosniff";
        headers["Referrer-Policy"] = "no-referrer";
        if (options.CorsOrigin is not { } origin)
        {
            return false;
        }

        headers.AccessControlAllowOrigin = origin;
        headers.Vary = "Origin";
        if (!HttpMethods.IsOptions(http.Request.Method) || !http.Request.Headers.ContainsKey("Access-Control-Request-Method"))
        {
            return false;
        }

        headers.AccessControlAllowHeaders = "authorization, content-type";
        headers.AccessControlAllowMethods = "GET, POST";
        headers.AccessControlMaxAge = "600";
        http.Response.StatusCode = StatusCodes.Status204NoContent;
        return true;
    }

    private bool IsOurs(string host) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
        || (IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address))
        || options.AllowedHosts.Contains(host, StringComparer.OrdinalIgnoreCase);
}
