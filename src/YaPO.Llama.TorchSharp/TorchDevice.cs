using System.Globalization;
using System.Runtime.InteropServices;
using TorchSharp;

namespace YaPO.Llama.TorchSharp;

/// <summary>Where a copy lives, and what libtorch's failures become.</summary>
internal static class TorchDevice
{
    /// <summary>The libtorch device of a device as the command line names it.</summary>
    /// <param name="name">Null: the first CUDA device, else the CPU. <c>cpu</c>; <c>CUDA</c>, <c>CUDA0</c> or <c>cuda:0</c>, whatever its case.</param>
    /// <exception cref="YapoException">No such kind of device, no such device here, or no libtorch beside the program.</exception>
    public static torch.Device Open(string? name)
    {
        var output = Console.Out;
        Console.SetOut(Console.Error); // where libtorch is missing, TorchSharp writes its search to stdout, which is for data
        try
        {
            return Guard("opening libtorch", () => Find(name));
        }
        finally
        {
            Console.SetOut(output);
        }
    }

    /// <summary>Runs <paramref name="job"/>; failures of libtorch become errors that say what was tried.</summary>
    public static T Guard<T>(string what, Func<T> job)
    {
        try
        {
            return job();
        }
        catch (Exception e) when (e is NotSupportedException or DllNotFoundException or EntryPointNotFoundException or BadImageFormatException
            || (e is TypeInitializationException && e.InnerException is not YapoException))
        {
            throw new YapoException(
                YapoErrorKind.Unsupported,
                $"{what}: libtorch could not be loaded, or is of another version ({FirstLine(e)}). TorchSharp needs the package of a backend beside it: TorchSharp-cpu, TorchSharp-cuda-linux or TorchSharp-cuda-windows of its own version",
                e);
        }
        catch (ExternalException e)
        {
            throw new YapoException(
                YapoErrorKind.Failed, $"{what}: libtorch says: {FirstLine(e)}. Where memory is short, a smaller --max-tokens, a later --layer or --torch-type bf16 needs less", e);
        }
    }

    private static torch.Device Find(string? name)
    {
        if (name is null && torch.cuda.is_available())
        {
            return torch.device(DeviceType.CUDA, 0);
        }

        if (name is null || name.Equals("cpu", StringComparison.OrdinalIgnoreCase))
        {
            torch.InitializeDeviceType(DeviceType.CPU);
            return torch.CPU;
        }

        if (!name.StartsWith("cuda", StringComparison.OrdinalIgnoreCase) || !TryNumber(name.AsSpan(4), out var index))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"the torch engine computes on cpu or CUDA0, CUDA1, …; '{name}' is neither");
        }

        var count = torch.cuda.is_available() ? torch.cuda.device_count() : 0;
        return index < count
            ? torch.device(DeviceType.CUDA, index)
            : throw new YapoException(
                YapoErrorKind.InvalidArgument,
                count > 0
                    ? $"there is no device {name}: libtorch sees {count} CUDA device{(count > 1 ? "s" : "")}, counted from 0"
                    : $"there is no device {name}: this libtorch has no CUDA, or sees no GPU. Build with -p:TorchSharpBackend=TorchSharp-cuda-linux (or -windows), or use cpu");
    }

    private static bool TryNumber(ReadOnlySpan<char> text, out int number)
    {
        number = 0;
        return text.IsEmpty || int.TryParse(text[0] == ':' ? text[1..] : text, NumberStyles.None, CultureInfo.InvariantCulture, out number);
    }

    private static string FirstLine(Exception e)
    {
        var message = (e is TypeInitializationException { InnerException: { } inner } ? inner : e).Message;
        return message.Split('\n', 2)[0].TrimEnd('.', '\r', ' ');
    }
}
