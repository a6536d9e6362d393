using YaPO.Llama.IO;

namespace YaPO.Llama.Numpy;

/// <summary>Reads <c>.npy</c> files of floats.</summary>
public static class NpyReader
{
    /// <summary>Opens a file and checks that its length is what its header declares.</summary>
    /// <exception cref="YapoException">Missing, malformed, truncated, or of another element type.</exception>
    public static NpyArray Open(string path)
    {
        var stream = InputFile.Open(path);
        try
        {
            var header = NpyHeader.Read(stream, path);
            if (stream.Length - header.HeaderBytes != header.DataBytes)
            {
                throw new YapoException(
                    YapoErrorKind.Format,
                    $"{path}: shape {header.ShapeText} takes {header.DataBytes:N0} bytes of data, the file has {stream.Length - header.HeaderBytes:N0}; is it truncated?");
            }

            return new NpyArray(header, stream.SafeFileHandle, header.HeaderBytes, path, stream);
        }
        catch (IOException e)
        {
            stream.Dispose();
            throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: {e.Message}", e);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }
}
