using System.Diagnostics;
using YaPO.Llama.Server.Http;

namespace YaPO.Llama.Tests.Server;

/// <summary>A test that needs Chromium, node and the page; skipped with the reason where one is missing.</summary>
internal sealed class BrowserFactAttribute : FactAttribute
{
    public static readonly string? Chromium = new[] { "chromium", "chromium-browser", "google-chrome" }.Select(Find).FirstOrDefault(path => path is not null);
    public static readonly string Web = Path.Combine(Repository.Root, "src", "YaPO.Llama.Server", "web");

    public BrowserFactAttribute() => Skip = Chromium is null ? "no Chromium on this machine"
        : Find("node") is null ? "no node on this machine"
        : !Directory.Exists(Path.Combine(Web, "node_modules", "playwright-core")) || !WebPage.IsBuiltIn ? "the page was not built (npm was missing or offline)"
        : null!;

    private static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
}

public sealed class WebPageTests(SharedServer shared) : IClassFixture<SharedServer>
{
    private readonly ServerWorld world = shared.World;

    [BrowserFact]
    public async Task Page_InChromium_ChatsComparesAndStops()
    {
        var start = new ProcessStartInfo("node", [Path.Combine(BrowserFactAttribute.Web, "test", "page.mjs"), world.Server.Address.ToString(), BrowserFactAttribute.Chromium!])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var node = Process.Start(start)!;
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        var (output, error) = (node.StandardOutput.ReadToEndAsync(patience.Token), node.StandardError.ReadToEndAsync(patience.Token));
        try
        {
            await node.WaitForExitAsync(patience.Token);
        }
        finally
        {
            if (!node.HasExited)
            {
                node.Kill(entireProcessTree: true);
            }
        }

        node.ExitCode.Should().Be(0, $"{await output}\n{await error}");
        (await output).Split('\n').Count(line => line.StartsWith("ok: ")).Should().BeGreaterThan(20);
    }

    [Fact]
    public async Task Root_IsServedWithAStrictPolicy()
    {
        var page = await world.GetAsync("/");

        page.Status.Should().Be(200);
        if (!WebPage.IsBuiltIn)
        {
            page.Text.Should().Contain("npm", "a server without its page says why");
            return;
        }

        page.Message.Content.Headers.ContentType!.MediaType.Should().Be("text/html");
        page.Message.Headers.GetValues("Content-Security-Policy").Single().Should().StartWith("default-src 'none'").And.NotContain("unsafe").And.NotContain("http");
        page.Text.Should().NotMatchRegex("""<script(?![^>]*src=)|style="|\son[a-z]+=|https?://""", "nothing inline and nothing from elsewhere");
        var script = System.Text.RegularExpressions.Regex.Match(page.Text, "src=\"\\./(assets/[^\"]+\\.js)\"").Groups[1].Value;
        var asset = await world.GetAsync("/" + script);
        asset.Status.Should().Be(200);
        asset.Message.Headers.CacheControl!.ToString().Should().Contain("immutable");
        using var again = new HttpRequestMessage(HttpMethod.Get, "/");
        again.Headers.TryAddWithoutValidation("If-None-Match", page.Message.Headers.ETag!.ToString());
        (await world.SendAsync(again)).Status.Should().Be(304);
    }
}
