using YaPO.Llama.IO;
using YaPO.Llama.Numpy;
using YaPO.Llama.Pytorch;
using YaPO.Llama.Safetensors;
using YaPO.Llama.Zip;

namespace YaPO.Llama.Tensors;

/// <summary>Opens tensor files of every known container. What counts is the content, not the extension.</summary>
public static class TensorFile
{
    /// <summary>Opens <c>.npy</c>, <c>.npz</c>, <c>.safetensors</c>, or <c>.pt</c>.</summary>
    /// <exception cref="YapoException">Missing, damaged, or of no known container.</exception>
    public static TensorSource Open(string path)
    {
        Span<byte> head = stackalloc byte[9];
        head.Clear();
        using (var stream = InputFile.Open(path))
        {
            try
            {
                head = head[..stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)];
            }
            catch (IOException e)
            {
                throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: {e.Message}", e);
            }
        }

        ReadOnlySpan<byte> numpy = [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];
        if (head.StartsWith(numpy))
        {
            return NpyReader.Open(path);
        }

        if (head.StartsWith("PK"u8))
        {
            return Zip(path);
        }

        if (path.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase) || (head.Length == 9 && head[8] == (byte)'{'))
        {
            return SafetensorsReader.Open(path);
        }

        ReadOnlySpan<byte> pickle = [0x80, 0x02];
        // Before PyTorch 1.6 a file began with a pickle: protocol 2 and the long integer 0x1950a86a20f9469cfc6c.
        throw new YapoException(YapoErrorKind.Unsupported, head.StartsWith(pickle)
            ? $"{path}: this is a bare pickle or a PyTorch file from before 1.6; load it once with PyTorch and save it again with torch.save"
            : $"{path} is in no format that is known; expected .npy, .npz, .safetensors or PyTorch's .pt");
    }

    private static TensorSource Zip(string path)
    {
        bool pytorch;
        using (var zip = ZipReader.Open(path))
        {
            pytorch = zip.Members.Any(m => PytorchReader.IsPickle(m.Name));
        }

        return pytorch ? PytorchReader.Open(path) : NpzReader.Open(path);
    }
}
