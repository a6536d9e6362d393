using System.Security.Cryptography;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace YaPO.Llama.Server.Http;

/// <summary>The page at <c>/</c> and its files, out of the assembly. Nothing on it comes from elsewhere, and the browser is told to see to that.</summary>
internal static class WebPage
{
    private const string Prefix = "web/";
    private const string Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    /// <summary>Whether the page was built in: it is not where npm was missing.</summary>
    public static bool IsBuiltIn => typeof(WebPage).Assembly.GetManifestResourceInfo(Prefix + "index.html") is not null;

    /// <summary>Serves every file of the page.</summary>
    public static void Map(IEndpointRouteBuilder app)
    {
        foreach (var name in typeof(WebPage).Assembly.GetManifestResourceNames().Where(n => n.StartsWith(Prefix, StringComparison.Ordinal)))
        {
            var content = Read(name);
            var tag = $"\"{Convert.ToHexString(SHA256.HashData(content), 0, 16)}\"";
            var path = name[Prefix.Length..];
            app.MapGet(path == "index.html" ? "/" : "/" + path, http => WriteAsync(http, path, content, tag));
        }

        if (!IsBuiltIn)
        {
            app.MapGet("/", http => http.Response.WriteAsync("This server was built without its web page (npm was missing). The API is at /v1.\n"));
        }
    }

    private static async Task WriteAsync(HttpContext http, string path, byte[] content, string tag)
    {
        var headers = http.Response.Headers;
        headers.ETag = tag;

        // The names of files under assets/ change with their content.
        headers.CacheControl = path.StartsWith("assets/", StringComparison.Ordinal) ? "public, max-age=31536000, immutable" : "no-cache";
        headers.ContentSecurityPolicy = Policy;
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        if (http.Request.Headers.IfNoneMatch == tag)
        {
            http.Response.StatusCode = StatusCodes.Status304NotModified;
            return;
        }

        http.Response.ContentType = ContentType(path);
        http.Response.ContentLength = content.Length;
        await http.Response.Body.WriteAsync(content, http.RequestAborted).ConfigureAwait(false);
    }

    private static byte[] Read(string name)
    {
        using var stream = typeof(WebPage).Assembly.GetManifestResourceStream(name)!;
        var content = new byte[stream.Length];
        stream.ReadExactly(content);
        return content;
    }

    private static string ContentType(string path) => Path.GetExtension(path) switch
    {
        ".html" => "text/html; charset=utf-8",
        ".js" => "text/javascript; charset=utf-8",
        ".css" => "text/css; charset=utf-8",
        ".svg" => "image/svg+xml",
        _ => "application/octet-stream",
    };
}
