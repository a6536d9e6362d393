using YaPO.Llama.Models;
using YaPO.Llama.Randomness;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Tests.Tensors;

namespace YaPO.Llama.Tests.Documentation;

/// <summary>
/// Small stand-ins under the names that the documentation uses for a reader's own files: a random model of 17 blocks as Gemma-2-2B, SAEs of its blocks 12 and 15 (one of them in Gemma Scope's
/// layout and place), two vectors, pairs, questions and text.
/// </summary>
internal sealed class StandIns : IDisposable
{
    private const int Width = 32;
    private const int Latents = 1536; // feature 1234 is one of them
    private const string Scope = "gemma-scope-2b-pt-res/layer_15/width_16k/average_l0_78/params.npz";
    private static readonly string[] Words = ["tea", "bread", "rice", "fish", "dates", "soup", "mint", "beans", "corn", "olives", "honey", "lamb"];
    private readonly TemporaryFolder _folder = new();

    public StandIns()
    {
        var model = _folder.File("gemma-2-2b-it-Q4_K_M.gguf");
        RandomModel.WriteTo(model, new RandomModel.Settings { Width = Width, Layers = 17, EmbeddingScale = 2 });
        File.CreateSymbolicLink(_folder.File("model.gguf"), model);
        var identity = ModelFingerprint.Compute(model).ToBaseModel();
        foreach (var layer in new[] { 12, 15 })
        {
            SaeWriter.Save(_folder.File($"layer{layer}.gguf"), new SaeInfo { Layer = layer, DModel = Width, Width = Latents, Name = $"stand-in {layer}", Base = identity }, Entries(layer));
        }

        File.Copy(_folder.File("layer15.gguf"), _folder.File("sae.gguf"));
        Directory.CreateDirectory(Path.GetDirectoryName(_folder.File(Scope))!);
        File.WriteAllBytes(_folder.File(Scope), GemmaScope(Entries(15)));
        using (var sae = SaeFile.Open(_folder.File("sae.gguf")))
        {
            Save("egypt", VectorBuilder.Sparse(sae, [3, 17, 40], [6f, -8f, 5f], "egypt"));
            Save("brazil", VectorBuilder.Sparse(sae, [5, 18, 41], [6f, -8f, 5f], "brazil"));
        }

        File.WriteAllLines(_folder.File("pairs.jsonl"), Pairs(0, 8, "chosen", "rejected"));
        File.WriteAllLines(_folder.File("pairs-train.jsonl"), Pairs(0, 8, "chosen", "rejected"));
        File.WriteAllLines(_folder.File("pairs-validation.jsonl"), Pairs(8, 4, "chosen", "rejected"));
        File.WriteAllLines(_folder.File("questions-validation.jsonl"), Questions(0));
        File.WriteAllLines(_folder.File("questions-test.jsonl"), Questions(6));
        File.WriteAllLines(_folder.File("knowledge-test.jsonl"), Words.Take(4).Select((w, i) => $$"""{"prompt": "what is {{w}} number {{i}}?", "options": ["{{w}}", "water"], "answer": 0, "topic": "k{{i}}"}"""));
        File.WriteAllLines(_folder.File("neutral.jsonl"), Words.Take(4).Select(w => $$"""{"text": "the {{w}} is in the water, user, and what is here is here"}"""));
        File.WriteAllText(_folder.File("neutral.txt"), string.Join("\n\n", Words.Take(4).Select(w => $"the {w} is in the water, user, and what is here is here")));
        var sum = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(model)));
        File.WriteAllText(_folder.File("SHA256SUMS"), $"{sum}  gemma-2-2b-it-Q4_K_M.gguf\n");

        void Save(string name, SteeringVector vector) =>
            new SteeringFile { Name = name, Base = identity, DModel = Width, Vectors = [vector] }.Save(_folder.File(name + ".ysv"));
    }

    public string Folder => _folder.Path;

    public void Dispose() => _folder.Dispose();

    /// <summary>An SAE that fits any residual stream of this width: each entry of it and its negative is a latent. The others, of random rows, never fire.</summary>
    private static SaeWeights Entries(int seed)
    {
        var random = new SeededRandom((ulong)seed, "stand-in sae");
        float[] rows = [.. Enumerable.Range(0, Latents * Width).Select(_ => (float)(random.NextGaussian() / Math.Sqrt(Width)))];
        Array.Clear(rows, 0, 2 * Width * Width);
        for (var i = 0; i < Width; i++)
        {
            (rows[(i * Width) + i], rows[((Width + i) * Width) + i]) = (1, -1);
        }

        var threshold = Enumerable.Range(0, Latents).Select(j => j < 2 * Width ? 0f : 1e6f).ToArray();
        return new SaeWeights(rows, new float[Latents], threshold, rows, new float[Width]);
    }

    private static byte[] GemmaScope(SaeWeights sae)
    {
        var (enc, transposed) = (sae.Enc.ToArray(), new float[sae.Enc.Length]);
        for (var i = 0; i < enc.Length; i++)
        {
            transposed[(i % Width * Latents) + (i / Width)] = enc[i];
        }

        return TensorWriter.Npz(
        [
            new TestTensor("W_enc", [Width, Latents], transposed), new TestTensor("W_dec", [Latents, Width], sae.Dec.ToArray()),
            new TestTensor("b_enc", [Latents], sae.EncBias.ToArray()), new TestTensor("b_dec", [Width], sae.DecBias.ToArray()), new TestTensor("threshold", [Latents], sae.Threshold.ToArray()),
        ]);
    }

    private static IEnumerable<string> Pairs(int first, int count, params string[] answers) =>
        from i in Enumerable.Range(first, count)
        select $$"""{"prompt": "what do they eat with {{Words[i]}}?", {{string.Join(", ", answers.Select((a, k) => $"\"{a}\": \"the {Words[(i + 3 + (2 * k)) % 12]} is here\""))}}, "topic": "p{{i}}"}""";

    private static IEnumerable<string> Questions(int first) =>
        from i in Enumerable.Range(first, 4)
        select $$"""{"prompt": "who has {{Words[i]}} in the water?", "options": ["the {{Words[(i + 1) % 12]}}", "a {{Words[(i + 2) % 12]}}"], "labels": ["{{(i % 2 == 0 ? "egypt" : "brazil")}}", "{{(i % 2 == 0 ? "brazil" : "egypt")}}"], "answer": {{i % 2}}, "topic": "q{{i}}"}""";
}
