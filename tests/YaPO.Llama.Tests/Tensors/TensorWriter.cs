using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Tests.Tensors;

/// <summary>A tensor to write; values in C order.</summary>
internal sealed record TestTensor(string Name, long[] Shape, float[] Values, TensorType Type = TensorType.F32)
{
    public byte[] Bytes() => Type switch
    {
        TensorType.F64 => [.. Values.SelectMany(v => BitConverter.GetBytes((double)v))],
        TensorType.F16 => [.. Values.SelectMany(v => BitConverter.GetBytes((Half)v))],
        TensorType.BF16 => [.. Values.SelectMany(v => BitConverter.GetBytes(BitConverter.SingleToUInt32Bits(v))[2..])],
        TensorType.I64 => [.. Values.SelectMany(v => BitConverter.GetBytes((long)v))],
        _ => MemoryMarshal.AsBytes(Values.AsSpan()).ToArray(),
    };

    /// <summary>The values as the type stores them.</summary>
    public float[] Stored() => Type switch
    {
        TensorType.F16 => [.. Values.Select(v => (float)(Half)v)],
        TensorType.BF16 => [.. Values.Select(v => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(v) & 0xFFFF0000))],
        _ => Values,
    };
}

/// <summary>Small writers of the containers, so that tests can make any file; the golden files of the real libraries stand beside them.</summary>
internal static class TensorWriter
{
    private static readonly string[] PythonStorage = ["DoubleStorage", "FloatStorage", "HalfStorage", "BFloat16Storage"];

    public static byte[] Safetensors(TestTensor[] tensors, string? metadata = null)
    {
        var header = new StringBuilder("{");
        if (metadata is not null)
        {
            header.Append($"\"__metadata__\":{metadata},");
        }

        var data = new MemoryStream();
        foreach (var t in tensors)
        {
            var bytes = t.Bytes();
            header.Append($"\"{t.Name}\":{{\"dtype\":\"{t.Type}\",\"shape\":[{string.Join(',', t.Shape)}],\"data_offsets\":[{data.Length},{data.Length + bytes.Length}]}},");
            data.Write(bytes);
        }

        return SafetensorsBytes(header.ToString().TrimEnd(',') + "}", data.ToArray());
    }

    public static byte[] SafetensorsBytes(string header, byte[] data)
    {
        var text = Encoding.UTF8.GetBytes(header.PadRight((header.Length + 7) / 8 * 8));
        return [.. BitConverter.GetBytes((long)text.Length), .. text, .. data];
    }

    public static byte[] Npy(TestTensor t, bool fortran = false)
    {
        var shape = $"({string.Join(", ", t.Shape)}{(t.Shape.Length == 1 ? "," : "")})";
        var descr = t.Type switch { TensorType.F64 => "<f8", TensorType.F16 => "<f2", _ => "<f4" };
        var header = $"{{'descr': '{descr}', 'fortran_order': {(fortran ? "True" : "False")}, 'shape': {shape}, }}".PadRight(117) + "\n";
        var stored = fortran && t.Shape.Length == 2 ? t with { Values = Transposed(t) } : t;
        return [0x93, .. "NUMPY"u8, 1, 0, 118, 0, .. Encoding.ASCII.GetBytes(header), .. stored.Bytes()];
    }

    public static byte[] Npz(TestTensor[] tensors, bool fortran = false, bool deflate = false)
    {
        var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var t in tensors)
            {
                using var entry = zip.CreateEntry(t.Name + ".npy", deflate ? CompressionLevel.Fastest : CompressionLevel.NoCompression).Open();
                entry.Write(Npy(t, fortran));
            }
        }

        return stream.ToArray();
    }

    /// <summary>A dictionary of tensors as torch.save writes it.</summary>
    public static byte[] Pt(params TestTensor[] tensors)
    {
        var pickle = new MemoryStream();
        pickle.Write([0x80, 2, (byte)'}', (byte)'(']);
        for (var i = 0; i < tensors.Length; i++)
        {
            Unicode(pickle, tensors[i].Name);
            Tensor(pickle, tensors[i], i);
        }

        pickle.Write("u."u8);
        return PtArchive(pickle.ToArray(), tensors);
    }

    /// <summary>Any pickle with the data of tensors beside it.</summary>
    public static byte[] PtArchive(byte[] pickle, params TestTensor[] tensors)
    {
        var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            Add("archive/data.pkl", pickle);
            Add("archive/byteorder", "little"u8.ToArray());
            for (var i = 0; i < tensors.Length; i++)
            {
                Add($"archive/data/{i}", tensors[i].Bytes());
            }

            Add("archive/version", "3\n"u8.ToArray());

            void Add(string name, byte[] bytes)
            {
                using var entry = zip.CreateEntry(name, CompressionLevel.NoCompression).Open();
                entry.Write(bytes);
            }
        }

        return stream.ToArray();
    }

    private static void Tensor(MemoryStream pickle, TestTensor t, int key)
    {
        pickle.Write(Encoding.ASCII.GetBytes("ctorch._utils\n_rebuild_tensor_v2\n(("));
        Unicode(pickle, "storage");
        pickle.Write(Encoding.ASCII.GetBytes($"ctorch\n{PythonStorage[(int)t.Type]}\n"));
        Unicode(pickle, $"{key}");
        Unicode(pickle, "cpu");
        Integer(pickle, t.Values.Length);
        pickle.Write("tQ"u8);
        Integer(pickle, 0);
        pickle.WriteByte((byte)'(');
        Array.ForEach(t.Shape, n => Integer(pickle, n));
        pickle.Write("t("u8);
        for (var i = 0; i < t.Shape.Length; i++)
        {
            Integer(pickle, t.Shape[(i + 1)..].Aggregate(1L, (a, n) => a * n));
        }

        pickle.WriteByte((byte)'t');
        pickle.WriteByte(0x89);
        pickle.Write(Encoding.ASCII.GetBytes("ccollections\nOrderedDict\n)RtR"));
    }

    private static void Unicode(MemoryStream pickle, string text)
    {
        pickle.WriteByte((byte)'X');
        pickle.Write(BitConverter.GetBytes(Encoding.UTF8.GetByteCount(text)));
        pickle.Write(Encoding.UTF8.GetBytes(text));
    }

    private static void Integer(MemoryStream pickle, long n)
    {
        pickle.WriteByte((byte)'J');
        pickle.Write(BitConverter.GetBytes((int)n));
    }

    private static float[] Transposed(TestTensor t)
    {
        var (rows, columns) = ((int)t.Shape[0], (int)t.Shape[1]);
        return [.. Enumerable.Range(0, rows * columns).Select(i => t.Values[(i % rows * columns) + (i / rows)])];
    }
}
