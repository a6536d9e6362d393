using YaPO.Llama.Models;

namespace YaPO.Llama.Tests.Sessions;

/// <summary>Base of tests that create native objects: after each of them nothing may be left alive.</summary>
public abstract class NativeTest : IDisposable
{
    private readonly long before = LlamaRuntime.LiveHandles;

    public virtual void Dispose()
    {
        LlamaRuntime.LiveHandles.Should().Be(before, "every native handle of this test must have been released");
        GC.SuppressFinalize(this);
    }
}

/// <summary>One random model file for all tests of a class.</summary>
public sealed class RandomModelFile : IDisposable
{
    private readonly RandomModel model = new();

    public string Path => model.Path;

    public void Dispose() => model.Dispose();
}
