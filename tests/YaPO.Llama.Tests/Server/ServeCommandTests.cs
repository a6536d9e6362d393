using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Server;

/// <summary><c>serve</c> as a process on real sockets.</summary>
public sealed partial class ServeCommandTests : IDisposable
{
    private readonly HttpClient http = new() { Timeout = TimeSpan.FromMinutes(1) };

    public void Dispose() => http.Dispose();

    [Fact]
    public async Task Serve_ShippedVectors_AnswersSteeredAndLeavesWithZeroOnCtrlC()
    {
        using var process = CliProcess.Start(Repository.Root, "serve", "--vector", "egypt.ysv", "--vector", "br=brazil.ysv:0.5", "--steer", "br", "--port", "0");
        var address = Address(process);

        var egypt = await Ask(address, "demo-f16+egypt");
        var standard = await Ask(address, "demo-f16");
        process.Interrupt();
        var run = process.Finish();

        egypt.Should().Contain("ful");
        standard.Should().Contain("queijo");
        run.ExitCode.Should().Be(0, run.Error);
        run.Error.Should().Contain("stopped").And.Contain("demo-f16+br");
        run.Out.Should().NotContain("\u001b");
    }

    [Fact]
    public async Task Serve_InterruptedBeyondItsGrace_CutsOffAndLeavesWith130()
    {
        using var process = CliProcess.Start(Repository.Root, "serve", "--model", "models/demo/demo-f16.gguf", "--port", "0", "--grace", "0", "--ctx-size", "100000", "--kv-cells", "100000");
        var address = Address(process);
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(address, "/v1/chat/completions"))
        {
            Content = JsonContent.Create(new { messages = new[] { new { role = "user", content = "Hi" } }, stream = true, ignore_eos = true, max_tokens = 90_000 }),
        };
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        using var stream = await response.Content.ReadAsStreamAsync();
        await stream.ReadExactlyAsync(new byte[10]);

        process.Interrupt();
        var rest = await new StreamReader(stream).ReadToEndAsync();
        var run = process.Finish();

        run.ExitCode.Should().Be(130, run.Error);
        run.Error.Should().Contain("cut off");
        rest.Should().Contain("shut down").And.NotContain("[DONE]", "a cut-off answer must not look complete");
    }

    [Fact]
    public async Task Serve_TopKVectorWhoseSaeLiesElsewhere_IsServedWithSae()
    {
        using var world = new CliWorld();
        using var elsewhere = new TemporaryFolder();
        var saePath = RandomSae.Save(elsewhere.File("top.gguf"), 64, 100, CliWorld.Layer, topK: 6);
        using (var sae = SaeFile.Open(saePath))
        {
            new SteeringFile
            {
                Base = ModelFingerprint.Compute(world.Model).ToBaseModel(), DModel = 64, Vectors = [VectorBuilder.Sparse(sae, [3, 40], [9f, -9f], "top")],
            }.Save(world.In("top.ysv"));
        }

        var without = CliProcess.Run(world.Folder, "", "serve", "--model", "model.gguf", "--vector", "top.ysv", "--port", "0");
        using var process = CliProcess.Start(world.Folder, "serve", "--model", "model.gguf", "--vector", "top.ysv", "--sae", saePath, "--port", "0");
        using var answer = await http.PostAsJsonAsync(new Uri(Address(process), "/v1/completions"), new { model = "model+top", prompt = "x", max_tokens = 3 });
        process.Interrupt();
        var run = process.Finish();

        without.ExitCode.Should().Be(3);
        without.Error.Should().Contain("top").And.Contain("--sae");
        run.ExitCode.Should().Be(0, run.Error);
        answer.EnsureSuccessStatusCode();
        (await answer.Content.ReadAsStringAsync()).Should().Contain("\"vector\":\"top\"");
    }

    [Fact]
    public async Task Serve_VectorFolderKeysAndLimits_AreObeyed()
    {
        using var world = new CliWorld();
        var keys = world.Write("keys.txt", "# ours\n\nsome-key-of-ours-1234\n");
        using var process = CliProcess.Start(world.Folder, "serve", "--model", "model.gguf", "--vector-dir", world.Folder, "--api-key-file", keys, "--strength-limit", "dense=-1:1", "--port", "0", "--model-name", "tiny");
        var address = Address(process);

        http.DefaultRequestHeaders.Authorization = new("Bearer", "some-key-of-ours-1234");
        var vectors = await http.GetFromJsonAsync<JsonElement>(new Uri(address, "/v1/steering/vectors"));
        using var beyond = await http.PostAsJsonAsync(new Uri(address, "/v1/completions"), new { model = "tiny+dense:2", prompt = "x" });
        using var fine = await http.PostAsJsonAsync(new Uri(address, "/v1/completions"), new { model = "tiny+dense:1", prompt = "x", max_tokens = 3 });
        http.DefaultRequestHeaders.Authorization = null;
        using var locked = await http.GetAsync(new Uri(address, "/v1/models"));
        process.Interrupt();

        process.Finish().ExitCode.Should().Be(0);
        vectors.GetProperty("data").EnumerateArray().Select(v => v.GetProperty("id").GetString()).Should().Equal("dense", "sparse");
        ((int)beyond.StatusCode).Should().Be(400);
        ((int)fine.StatusCode).Should().Be(200, await fine.Content.ReadAsStringAsync());
        ((int)locked.StatusCode).Should().Be(401);
    }

    [Fact]
    public async Task Serve_SeveralKeys_OneCannotTakeAllPlacesOfTheQueue()
    {
        using var world = new CliWorld();
        var keys = world.Write("keys.txt", "first-key-of-ours-1234\nsecond-key-of-ours-1234\n");
        using var process = CliProcess.Start(
            world.Folder, "serve", "--model", "model.gguf", "--api-key-file", keys, "--port", "0", "--parallel", "1", "--queue", "4", "--ctx-size", "50000", "--kv-cells", "50000", "--grace", "0", "--threads", "1");
        var address = Address(process);
        using var leave = new CancellationTokenSource();
        Task<HttpResponseMessage> Ask(string key, int tokens, CancellationToken cancellation = default)
        {
            var request = new HttpRequestMessage(HttpMethod.Post, new Uri(address, "/v1/completions")) { Content = JsonContent.Create(new { prompt = "x", max_tokens = tokens, ignore_eos = true }) };
            request.Headers.Authorization = new("Bearer", key);
            return http.SendAsync(request, cancellation);
        }

        var crowd = Enumerable.Range(0, 8).Select(_ => Ask("first-key-of-ours-1234", 49_000, leave.Token)).ToList();
        var refused = await Task.WhenAny(crowd); // one runs, two wait, and the others are refused
        var other = Ask("second-key-of-ours-1234", 1);
        var early = await Task.WhenAny(other, Task.Delay(TimeSpan.FromSeconds(1)));
        await leave.CancelAsync(); // the crowd goes home
        using var answer = await other;

        ((int)(await refused).StatusCode).Should().Be(429);
        early.Should().NotBe(other, "it waits, and is not refused");
        ((int)answer.StatusCode).Should().Be(200, await answer.Content.ReadAsStringAsync());
        process.Interrupt();
        process.Finish();
    }

    [Theory]
    [InlineData(2)]
    [InlineData(2, "--model", "model.gguf", "--port", "70000")]
    [InlineData(2, "--model", "model.gguf", "--vector", "bad name=sparse.ysv:x")]
    [InlineData(2, "--model", "model.gguf", "--vector", "a=sparse.ysv", "--vector", "a=dense.ysv")]
    [InlineData(2, "--model", "model.gguf", "--vector", "sparse.ysv", "--steer", "dense")]
    [InlineData(2, "--model", "model.gguf", "--vector", "sparse.ysv", "--strength-limit", "sparse=3")]
    [InlineData(2, "--model", "model.gguf", "--vector", "sparse.ysv:5", "--strength-limit", "sparse=0:1")]
    [InlineData(2, "--model", "model.gguf", "--strength-limit", "nobody=0:1")]
    [InlineData(2, "--model", "model.gguf", "--model-name", "a+b")]
    [InlineData(2, "--model", "model.gguf", "--host", "no such host")]
    [InlineData(2, "--model", "model.gguf", "--ctx-size", "4096", "--kv-cells", "100")]
    [InlineData(3, "--model", "missing.gguf")]
    [InlineData(3, "--model", "other.gguf", "--vector", "sparse.ysv")]
    [InlineData(3, "--model", "model.gguf", "--api-key-file", "missing.txt")]
    [InlineData(3, "--model", "model.gguf", "--api-key-file", "short.txt")]
    [InlineData(3, "--model", "model.gguf", "--vector-dir", "missing")]
    public async Task Serve_WrongSettings_EndBeforeListening(int expected, params string[] args)
    {
        using var world = new CliWorld();
        world.Write("short.txt", "abc\n");
        var files = args.Select((arg, i) => File.Exists(world.In(arg)) || (i > 0 && args[i - 1] is "--model" or "--api-key-file" or "--vector-dir") ? world.In(arg)
            : arg.Replace("=sparse.ysv", $"={world.Vector}").Replace("=dense.ysv", $"={world.Dense}") is var spec && spec.StartsWith("sparse.ysv") ? world.In(spec) : spec);

        var run = await CliRun.Of([.. files.Prepend("serve"), "--quiet"]);

        run.ExitCode.Should().Be(expected, run.Error);
        run.Error.Should().StartWith("error: ").And.NotContain("defect");
        run.Out.Should().BeEmpty();
    }

    [Fact]
    public async Task Serve_PortInUse_SaysSo()
    {
        using var world = new CliWorld();
        using var taken = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        taken.Start();

        var run = await CliRun.Of("serve", "--model", world.Model, "--port", $"{((System.Net.IPEndPoint)taken.LocalEndpoint).Port}", "--quiet");

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("cannot listen");
    }

    private static Uri Address(CliProcess process)
    {
        process.WaitUntil(p => Listening().IsMatch(p.Output), "listening");
        return new Uri(Listening().Match(process.Output).Groups[1].Value);
    }

    private async Task<string> Ask(Uri address, string model)
    {
        using var content = new StringContent($$"""{"model": "{{model}}", "messages": [{"role": "user", "content": "What do people eat for breakfast?"}], "temperature": 0, "max_tokens": 24}""", Encoding.UTF8, "application/json");
        using var response = await http.PostAsync(new Uri(address, "/v1/chat/completions"), content);
        return await response.Content.ReadAsStringAsync();
    }

    [GeneratedRegex(@"listening on (http://\S+)\n")]
    private static partial Regex Listening();
}
