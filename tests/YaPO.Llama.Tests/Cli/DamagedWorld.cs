using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;
using YaPO.Llama.Tests.Numpy;
using YaPO.Llama.Tests.Tensors;
using YaPO.Llama.Tests.Training;

namespace YaPO.Llama.Tests.Cli;

/// <summary>One format that the program reads from disk.</summary>
/// <param name="File">What a damaged copy is called.</param>
/// <param name="Valid">The bytes of a file that every command accepts.</param>
/// <param name="Commands">Commands that read it, words between blanks; FILE stands for the file, OUT for what the command may write.</param>
internal sealed record DamagedFormat(string File, byte[] Valid, params string[] Commands)
{
    /// <summary>Half of the damage falls into this many bytes at the front, where structure is: a changed weight is only another model. 0: anywhere.</summary>
    public int Head { get; init; }
}

/// <summary>A random model with everything that commands read beside it, and every format of that.</summary>
internal sealed class DamagedWorld : IDisposable
{
    private const string Train = "train --model model.gguf --sae sae.gguf --layer 0 --data train.jsonl --output OUT --steps 2 --refit-steps 0 --batch-size 2 --max-features 8 --threads 1 --name v";
    private const string TrainSae = "sae train --model model.gguf --data FILE --layer 0 --output OUT --latents 24 --target-l0 4 --rows 640 --batch-size 64 --block-rows 256 --evaluation-rows 64 --max-tokens 32 --threads 1 --name s";
    private const string Eval = " --model model.gguf --data FILE --controls 0 --threads 1 --workers 1";
    private const string Import = "vector import --input FILE --dense --layer 1 --model model.gguf --output OUT";
    private readonly TinyWorld _world = new();

    public DamagedWorld()
    {
        var identity = ModelFingerprint.Compute(_world.Model).ToBaseModel();
        using (var sae = SaeFile.Open(_world.Sae))
        {
            Save("vector.ysv", VectorBuilder.Sparse(sae, [3, 17, 40], [6f, -8f, 5f], "sparse"));
        }

        Save("dense.ysv", VectorBuilder.Dense(Values(1), 1, "dense"));
        File.WriteAllLines(_world["text.jsonl"], Enumerable.Range(0, 60).Select(i => $$"""{"text": "what is the tea of model {{i}} in the water, user?"}"""));
        File.WriteAllText(_world["scores.jsonl"], """{"prompt": "what is", "completion": " the tea"}""" + "\n" + """{"prompt_tokens": [1, 300], "completion_tokens": [301], "id": {"a": "b"}}""" + "\n");

        void Save(string name, SteeringVector vector) =>
            new SteeringFile { Name = vector.Name, Base = identity, DModel = TinyWorld.Width, Vectors = [vector] }.Save(_world[name]);
    }

    public static IReadOnlyList<string> Formats { get; } =
        ["model", "sae", "vector", "control-vector", "safetensors", "npz", "npy", "pt", "pairs", "prompts", "scores", "questions", "questions-csv", "text"];

    public string Folder => _world.Folder;

    public string this[string name] => _world[name];

    public void Dispose() => _world.Dispose();

    public DamagedFormat Format(string name) => name switch
    {
        "model" => new(
            "damaged.gguf", Read("model.gguf"),
            "model info FILE", "model fingerprint FILE", "generate --model FILE -p what -n 2 --threads 1", Train.Replace("model.gguf", "FILE", StringComparison.Ordinal),
            Train.Replace("model.gguf", "FILE", StringComparison.Ordinal) + " --dry-run", "model quantize --input FILE --output OUT --type q8_0 --threads 1",
            "inspect --model FILE --sae sae.gguf -p what --threads 1", "score --model FILE --input scores.jsonl --threads 1", "vector verify vector.ysv --model FILE")
        {
            Head = 8192,
        },
        "sae" => new(
            "damaged.gguf", Read("sae.gguf"),
            "sae info FILE", "inspect --model model.gguf --sae FILE -p what --threads 1", "vector new --sae FILE --feature 3:+5 --output OUT", Train.Replace("sae.gguf", "FILE", StringComparison.Ordinal),
            "sae eval --sae FILE --model model.gguf --data text.jsonl --threads 1")
        {
            Head = 1024,
        },
        "vector" => new(
            "damaged.ysv", Read("vector.ysv"),
            "vector info FILE", "vector verify FILE --model model.gguf", "vector prune FILE --top-k 2 -o OUT", "vector combine FILE:1 dense.ysv:0.5 -o OUT",
            "vector export FILE --to safetensors --output OUT", "vector diff FILE vector.ysv", "generate --model model.gguf --vector FILE -p what -n 2 --threads 1",
            "score --model model.gguf --vector FILE --input scores.jsonl --threads 1")
        {
            Head = 1024,
        },
        "control-vector" => new(
            "damaged.gguf", ControlVector(), "vector info FILE", "generate --model model.gguf --vector FILE -p what -n 2 --threads 1", "vector import --input FILE --model model.gguf --output OUT"),
        "safetensors" => new("damaged.safetensors", TensorWriter.Safetensors([new("v", [TinyWorld.Width], Values(3))]), Import),
        "npz" => new("damaged.npz", File.ReadAllBytes(NumpyTests.Golden("sae.npz")), "sae convert --input FILE --layer 1 --output OUT"),
        "npy" => new("damaged.npy", TensorWriter.Npy(new("v", [TinyWorld.Width], Values(3))), Import),
        "pt" => new("damaged.pt", TensorWriter.Pt([new("v", [TinyWorld.Width], Values(3))]), Import),
        "pairs" => new(
            "damaged.jsonl", Read("train.jsonl"), Train.Replace("train.jsonl", "FILE", StringComparison.Ordinal), Train + " --validation-data FILE", "eval preference --vector vector.ysv" + Eval),
        "prompts" => new(
            "damaged.jsonl", "{\"prompt\": \"what is the tea?\", \"chosen\": \"the mint\"}\n{\"prompt\": [{\"role\": \"user\", \"content\": \"what\"}], \"chosen\": \"a\"}\n"u8.ToArray(),
            "generate --model model.gguf --input FILE -n 2 --threads 1 --json", "data rejected --model model.gguf --input FILE --output OUT -n 2 --threads 1"),
        "scores" => new("damaged.jsonl", Read("scores.jsonl"), "score --model model.gguf --input FILE --threads 1"),
        "questions" => new(
            "damaged.jsonl", """{"prompt": "what is here?", "options": ["the tea", "a user"], "answer": 1, "topic": "t"}"""u8.ToArray(), "eval mcq --vector vector.ysv" + Eval),
        "questions-csv" => new("damaged.csv", "\"What, then?\",a,\"b \"\"c\"\"\",d,e,B\nq2,a,b,c,d,A\n"u8.ToArray(), "eval mcq --vector vector.ysv" + Eval),
        "text" => new("damaged.jsonl", Read("text.jsonl"), TrainSae, "eval perplexity --vector vector.ysv" + Eval),
        _ => throw new ArgumentOutOfRangeException(nameof(name), name, "no such format"),
    };

    private byte[] Read(string name) => File.ReadAllBytes(_world[name]);

    private static float[] Values(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, TinyWorld.Width).Select(_ => (2 * random.NextSingle()) - 1)];
    }

    private static byte[] ControlVector()
    {
        var stream = new MemoryStream();
        new GgufWriter().Set("general.architecture", "controlvector").AddTensor("direction.1", GgmlType.F32, [TinyWorld.Width], Values(5)).Write(stream);
        return stream.ToArray();
    }
}
