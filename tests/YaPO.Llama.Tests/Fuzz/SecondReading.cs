using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Tests.Fuzz;

/// <summary>
/// A second, careless reading of a damaged file that the reader accepted: offsets straight from the header, values straight from the bytes. Where both accept, both must
/// have the same numbers.
/// </summary>
internal static partial class SecondReading
{
    public static void CheckSafetensors(string path)
    {
        var bytes = File.ReadAllBytes(path);
        var start = 8 + (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        using var header = JsonDocument.Parse(bytes.AsMemory(8, start - 8));
        using var source = TensorFile.Open(path);
        foreach (var entry in header.RootElement.EnumerateObject().Where(e => e.Name != "__metadata__"))
        {
            var info = source.Info(entry.Name);
            Assert.Equal(entry.Value.GetProperty("shape").EnumerateArray().Select(n => n.GetInt64()), info.Shape);
            if (info.Type.IsReadable())
            {
                var at = start + (int)entry.Value.GetProperty("data_offsets")[0].GetInt64();
                Same(bytes, at, entry.Value.GetProperty("dtype").GetString()!, source.Read(entry.Name));
            }
        }
    }

    public static void CheckNpy(string path)
    {
        var bytes = File.ReadAllBytes(path);
        using var source = TensorFile.Open(path);
        var start = bytes[6] == 1 ? 10 + BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(8)) : 12 + (int)BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(8));
        var text = Encoding.Latin1.GetString(bytes, 0, start);
        Assert.Equal(Number().Matches(Shape().Match(text).Groups[1].Value).Select(n => long.Parse(n.Value)), source.Info("").Shape);
        using var data = source.OpenTensor("");
        var stored = new float[data.Info.Elements];
        data.Read(0, stored);
        Same(bytes, start, Type().Match(text).Groups[1].Value switch { "<f2" => "F16", "<f4" => "F32", "<f8" => "F64", var other => other }, stored);
    }

    private static void Same(byte[] bytes, int at, string type, float[] values)
    {
        for (var i = 0; i < values.Length; i++)
        {
            var expected = type switch
            {
                "F64" => (float)BitConverter.ToDouble(bytes, at + (8 * i)),
                "F32" => BitConverter.ToSingle(bytes, at + (4 * i)),
                "F16" => (float)BitConverter.ToHalf(bytes, at + (2 * i)),
                "BF16" => BitConverter.UInt32BitsToSingle((uint)BitConverter.ToUInt16(bytes, at + (2 * i)) << 16),
                _ => throw new InvalidOperationException($"{type} was read"),
            };
            Assert.Equal(expected, values[i]); // NaN equals NaN here
        }
    }

    [GeneratedRegex(@"['""]shape['""]\s*:\s*\(([^)]*)\)")]
    private static partial Regex Shape();

    [GeneratedRegex("[0-9]+")]
    private static partial Regex Number();

    [GeneratedRegex(@"['""]descr['""]\s*:\s*['""]([^'""]*)['""]")]
    private static partial Regex Type();
}
