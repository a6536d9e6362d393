using Microsoft.Win32.SafeHandles;

namespace YaPO.Llama.Zip;

/// <summary>A stretch of a file as a read-only stream with a position of its own, so that several can be read side by side.</summary>
internal sealed class FileWindow(SafeFileHandle handle, long start, long length) : Stream
{
    public long Start => start;

    public override bool CanRead => true;

    public override bool CanSeek => true;

    public override bool CanWrite => false;

    public override long Length => length;

    public override long Position { get; set; }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        var n = (int)Math.Min(buffer.Length, Math.Max(0, length - Position));
        n = RandomAccess.Read(handle, buffer[..n], start + Position);
        Position += n;
        return n;
    }

    public override long Seek(long offset, SeekOrigin origin) => Position = origin switch
    {
        SeekOrigin.Begin => offset,
        SeekOrigin.Current => Position + offset,
        _ => length + offset,
    };

    public override void Flush()
    {
    }

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
