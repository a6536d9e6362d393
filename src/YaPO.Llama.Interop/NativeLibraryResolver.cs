using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;

namespace YaPO.Llama.Interop;

/// <summary>
/// Finds libyapo: the folder in <c>YAPO_NATIVE_DIR</c> (and then nowhere else), then <c>runtimes/&lt;rid&gt;/native</c> beside the assembly, then
/// beside the assembly, then the system's own search. The ABI version is compared once, when the library is loaded.
/// </summary>
internal static class NativeLibraryResolver
{
    /// <summary>Environment variable that names the folder of the native libraries.</summary>
    internal const string DirectoryVariable = "YAPO_NATIVE_DIR";

    private static readonly Lock Gate = new();
    private static nint library;

    /// <summary>The file that was loaded; null before the first native call.</summary>
    internal static string? LoadedPath { get; private set; }

    internal static void Register() => NativeLibrary.SetDllImportResolver(typeof(NativeMethods).Assembly, Resolve);

    /// <summary>Loads the library now.</summary>
    /// <exception cref="DllNotFoundException">Not found, not loadable, or of another ABI version; the message lists every path tried.</exception>
    internal static void EnsureLoaded()
    {
        lock (Gate)
        {
            if (library == 0)
            {
                library = Load(Environment.GetEnvironmentVariable(DirectoryVariable), AssemblyDirectory);
            }
        }
    }

    private static string AssemblyDirectory =>
        Path.GetDirectoryName(typeof(NativeMethods).Assembly.Location) is { Length: > 0 } folder ? folder : AppContext.BaseDirectory;

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? searchPath)
    {
        if (name != "yapo")
        {
            return 0;
        }

        EnsureLoaded();
        return library;
    }

    internal static IReadOnlyList<string> Candidates(string? overrideDirectory, string assemblyDirectory)
    {
        var file = FileName;
        if (!string.IsNullOrEmpty(overrideDirectory))
        {
            // An explicit choice that silently falls back to another library would be worse than an error.
            return [Path.Combine(overrideDirectory, file)];
        }

        return
        [
            Path.Combine(assemblyDirectory, "runtimes", PortableRid, "native", file),
            Path.Combine(assemblyDirectory, file),
            file,
        ];
    }

    internal static nint Load(string? overrideDirectory, string assemblyDirectory)
    {
        var tried = new StringBuilder();
        foreach (var path in Candidates(overrideDirectory, assemblyDirectory))
        {
            if (Path.IsPathRooted(path) && !File.Exists(path))
            {
                tried.Append("\n  ").Append(path).Append(": no such file");
                continue;
            }

            try
            {
                var handle = NativeLibrary.Load(path);
                RequireAbi(handle, path);
                LoadedPath = path;
                return handle;
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException or EntryPointNotFoundException)
            {
                tried.Append("\n  ").Append(path).Append(": ").Append(e.Message.ReplaceLineEndings(" "));
            }
        }

        throw new DllNotFoundException(
            $"the native library {FileName} for {PortableRid} could not be loaded. Tried:{tried}\n" +
            $"Build it with 'dotnet build' (CMake and a C++ compiler are needed), or point {DirectoryVariable} at the folder that holds it.");
    }

    private static unsafe void RequireAbi(nint handle, string path)
    {
        var version = ((delegate* unmanaged[Cdecl]<uint>)NativeLibrary.GetExport(handle, "yapo_abi_version"))();
        if (version != NativeMethods.YAPO_ABI_VERSION)
        {
            NativeLibrary.Free(handle);
            throw new DllNotFoundException(
                $"ABI version {version}, expected exactly {NativeMethods.YAPO_ABI_VERSION}; the library and {Path.GetFileName(typeof(NativeMethods).Assembly.Location)} are of different builds");
        }
    }

    private static string FileName =>
        OperatingSystem.IsWindows() ? "yapo.dll" : OperatingSystem.IsMacOS() ? "libyapo.dylib" : "libyapo.so";

    /// <summary>linux-x64 and the like: what NuGet's <c>runtimes</c> folders are called, whatever the distribution.</summary>
    internal static string PortableRid
    {
        get
        {
            var system = OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx" : "linux";
            return $"{system}-{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}";
        }
    }
}
