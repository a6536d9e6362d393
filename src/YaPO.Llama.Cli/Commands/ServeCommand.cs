using System.CommandLine;
using YaPO.Llama.Batching;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Serving;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Server;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>serve</c>: an OpenAI-compatible server in which every request brings its own steering.</summary>
internal static class ServeCommand
{
    internal sealed record Options(
        string Host,
        int Port,
        string? ApiKeyFile,
        string? ModelName,
        string? CorsOrigin,
        IReadOnlyList<string> AllowedHosts,
        int Parallel,
        int Cells,
        int Queue,
        int PrefillChunk,
        int MaxTokens,
        int EmbeddingTokens,
        int BodyLimit,
        int Grace,
        ServedVectorSettings Vectors,
        EngineSettings Engine);

    public static Command Build(CommandConsole console)
    {
        var host = new Option<string>("--host") { Description = "Address to listen on; 0.0.0.0 for every network.", DefaultValueFactory = _ => "127.0.0.1", HelpName = "ADDRESS" };
        var port = new Option<int>("--port") { Description = "Port; 0: any free one (printed on stdout).", DefaultValueFactory = _ => 8080, HelpName = "N" }.Within(0, 65535);
        var keys = new Option<string?>("--api-key-file") { Description = "File of accepted API keys, one per line, # for comments (default: no key is asked for).", HelpName = "FILE" };
        var name = new Option<string?>("--model-name") { Description = "The model's name in the API (default: the file's name).", HelpName = "NAME" };
        var cors = new Option<string?>("--cors-origin") { Description = "Lets web pages of this origin call the API, * for any (default: none).", HelpName = "ORIGIN" };
        var hosts = new Option<string[]>("--allow-host")
        {
            Description = "Host name that requests may address while listening on a loopback address, for a proxy in front, repeatable (default: localhost and loopback addresses).",
            HelpName = "NAME",
            DefaultValueFactory = _ => [],
        };
        var parallel = new Option<int>("--parallel") { Description = "Answers generated at the same time.", DefaultValueFactory = _ => 8, HelpName = "N" }.Within(1, 256);
        var cells = new Option<int>("--kv-cells")
        {
            Description = "Tokens of all running and remembered requests together. 0: --parallel times --ctx-size, at most 16384.",
            DefaultValueFactory = _ => 0,
            HelpName = "N",
        }.Within(0, 1 << 27);
        var queue = new Option<int>("--queue") { Description = "Answers that may wait; more are refused with status 429. Where there are several API keys, those of one key may take half of the places.", DefaultValueFactory = _ => 64, HelpName = "N" }.Within(0, 100_000);
        var chunk = new Option<int>("--prefill-chunk")
        {
            Description = "Prompt tokens evaluated in one step beside running answers: more is faster for the new request, less is smoother for the others.",
            DefaultValueFactory = _ => 64,
            HelpName = "N",
        }.Within(1, 65536);
        var maxTokens = new Option<int>("--max-tokens", "-n") { Description = "Longest answer in tokens where a request does not say.", DefaultValueFactory = _ => 512, HelpName = "N" }.Within(1, int.MaxValue);
        var embedding = new Option<int>("--embedding-tokens")
        {
            Description = "Longest text of /v1/embeddings, in tokens, where the model's file names a pooling; each takes 8 bytes per token of the vocabulary.",
            DefaultValueFactory = _ => 512,
            HelpName = "N",
        }.Within(1, 1 << 20);
        var body = new Option<int>("--body-limit") { Description = "Largest request body, in bytes.", DefaultValueFactory = _ => 1 << 20, HelpName = "BYTES" }.Within(1024, 1 << 30);
        var grace = new Option<int>("--grace") { Description = "Seconds that running answers have to finish after Ctrl+C; a second Ctrl+C leaves at once.", DefaultValueFactory = _ => 30, HelpName = "SECONDS" }.Within(0, 86400);
        var vectors = new ServedVectorOptions();
        var engine = new EngineOptions();
        var command = new Command("serve", "OpenAI-compatible server with per-request steering, and a web page. Exit code 0 when Ctrl+C let every running answer finish, 130 when some were cut off.")
        {
            host, port, keys, name, cors, hosts, parallel, cells, queue, chunk, maxTokens, embedding, body, grace,
        };
        vectors.AddTo(command);
        engine.AddTo(command);
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetValue(host)!,
                parsed.GetValue(port),
                parsed.GetValue(keys),
                parsed.GetValue(name),
                parsed.GetValue(cors),
                parsed.GetValue(hosts) ?? [],
                parsed.GetValue(parallel),
                parsed.GetValue(cells),
                parsed.GetValue(queue),
                parsed.GetValue(chunk),
                parsed.GetValue(maxTokens),
                parsed.GetValue(embedding),
                parsed.GetValue(body),
                parsed.GetValue(grace),
                vectors.Read(parsed),
                engine.Read(parsed)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var keys = options.ApiKeyFile is { } file ? ApiKeyFile.Read(file, console) : [];
        using var served = ServedVectors.Open(options.Vectors, options.Engine, console, cancellation);
        var id = options.ModelName ?? Path.GetFileNameWithoutExtension(served.Model.Path);
        if (id.Contains('+', StringComparison.Ordinal))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"model name '{id}': + stands between the model and its vectors; give another --model-name");
        }

        await using var server = await LlamaServer.StartAsync(
            served.Model,
            new ServerOptions
            {
                ModelId = id,
                Vectors = served.Vectors,
                DefaultSteering = served.Default,
                Host = options.Host,
                Port = options.Port,
                ApiKeys = keys,
                AllowedHosts = options.AllowedHosts,
                CorsOrigin = options.CorsOrigin,
                BodyLimit = options.BodyLimit,
                EmbeddingTokens = options.EmbeddingTokens,
                DefaultMaxTokens = options.MaxTokens,
                Engine = new BatchEngineOptions
                {
                    Slots = options.Parallel,
                    RequestTokens = options.Engine.ContextSize ?? 0,
                    Cells = options.Cells,
                    PrefillChunk = options.PrefillChunk,
                    QueueLimit = options.Queue,
                    QueueLimitPerClient = keys.Count > 1 ? Math.Max(1, options.Queue / 2) : options.Queue, // nobody is kept out by another key's crowd
                    Context = served.Context,
                },
            },
            console.Logs,
            cancellation).ConfigureAwait(false);
        Announce(server, id, served, keys.Count > 0, console);
        await Task.WhenAny(server.Engine.Completion, Task.Delay(Timeout.Infinite, cancellation)).ConfigureAwait(false);
        if (server.Engine.Failure is { } failure)
        {
            throw new YapoException(YapoErrorKind.Failed, $"the engine failed: {failure.Message}", failure);
        }

        if (server.Engine.Statistics.Running is > 0 and var running)
        {
            console.Note($"finishing {running} running answer{(running > 1 ? "s" : "")}, at most {options.Grace} s; Ctrl+C again leaves at once");
        }

        var finished = await server.StopAsync(TimeSpan.FromSeconds(options.Grace)).ConfigureAwait(false);
        console.Note(finished ? "stopped" : "stopped; some answers were cut off");
        return finished ? ExitCodes.Success : ExitCodes.Interrupted;
    }

    private static void Announce(LlamaServer server, string id, ServedVectors served, bool keys, CommandConsole console)
    {
        console.Note($"{server.Engine.Options.Slots} answers at a time, {server.Engine.RequestTokens} tokens each, {server.Engine.Cells} KV cells");
        console.Note($"model '{id}'{string.Concat(served.Vectors.Select(v => $", '{id}+{v.Name}'"))}");
        if (!server.IsLoopback)
        {
            console.Warn(keys
                ? "listening beyond this machine without encryption: keys and texts can be read on the way; put a TLS proxy in front"
                : "listening beyond this machine without an API key: whoever reaches the port can use it; give --api-key-file, or --host 127.0.0.1");
        }

        console.Out.WriteLine($"listening on {server.Address.ToString().TrimEnd('/')}");
    }
}
