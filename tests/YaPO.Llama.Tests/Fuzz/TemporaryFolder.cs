namespace YaPO.Llama.Tests;

/// <summary>A folder that vanishes after the test. Its name holds a non-ASCII character on purpose.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    private const string SharedMemory = "/dev/shm";

    private readonly DirectoryInfo _folder;

    /// <param name="inMemory">Where the system has a file system in memory, use it: thousands of small files would wait for the disk otherwise.</param>
    public TemporaryFolder(bool inMemory = false) =>
        _folder = inMemory && Directory.Exists(SharedMemory) ? Directory.CreateDirectory($"{SharedMemory}/yapo-tést-{Guid.NewGuid():N}") : Directory.CreateTempSubdirectory("yapo-tést-");

    public string Path => _folder.FullName;

    public string File(string name) => System.IO.Path.Combine(_folder.FullName, name);

    public string Write(string name, byte[] bytes)
    {
        System.IO.File.WriteAllBytes(File(name), bytes);
        return File(name);
    }

    public string Write(string name, string text)
    {
        System.IO.File.WriteAllText(File(name), text);
        return File(name);
    }

    public void Dispose() => _folder.Delete(recursive: true);
}
