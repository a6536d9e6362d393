using YaPO.Llama.Gguf;

namespace YaPO.Llama.Tests.Sessions;

/// <summary>The demo model with a pooling in its file, which is what makes a language model one that gives embeddings.</summary>
internal static class PooledDemo
{
    public static readonly string Folder = Path.Combine(Repository.Root, "models", "demo");

    /// <summary>Writes a copy.</summary>
    /// <param name="pooling">llama.cpp's number: 1 mean, 2 first token, 3 last token, 4 rank.</param>
    /// <param name="path">Where to.</param>
    public static string Write(uint pooling, string path)
    {
        using var demo = GgufFile.Open(Path.Combine(Folder, "demo-f16.gguf"));
        var writer = new GgufWriter();
        foreach (var (key, value) in demo.Metadata)
        {
            writer.Set(key, value);
        }

        writer.Set($"{demo.Architecture}.pooling_type", pooling);
        foreach (var tensor in demo.Tensors)
        {
            writer.AddTensor(tensor.Name, tensor.Type, [.. tensor.Shape], stream => stream.Write(demo.ReadBytes(tensor)));
        }

        writer.Save(path);
        return path;
    }
}
