using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Errors;

/// <summary>Prints a failure as one message for a person; the stack only with --verbose, or when the failure is a bug.</summary>
internal static class ErrorReport
{
    /// <summary>Writes <paramref name="exception"/> to the console's stderr and returns the exit code.</summary>
    public static int Write(Exception exception, CommandConsole console)
    {
        exception = Unwrap(exception);
        var code = ExitCodes.For(exception);
        console.EndProgress();
        if (code == ExitCodes.Interrupted)
        {
            console.Error.WriteLine("interrupted");
            return code;
        }

        var expected = exception is YapoException or IOException or UnauthorizedAccessException or OutOfMemoryException;
        console.Error.WriteLine(expected ? $"error: {exception.Message}" : $"error: unexpected {exception.GetType().Name}: {exception.Message}");
        if (console.Verbosity == Verbosity.Verbose)
        {
            console.Error.WriteLine(exception.ToString());
        }
        else if (!expected)
        {
            console.Error.WriteLine("This is a defect of yapo-llama; run again with --verbose to see where it happened.");
        }

        return code;
    }

    private static Exception Unwrap(Exception exception)
    {
        while (exception is AggregateException { InnerExceptions.Count: 1 } or TypeInitializationException { InnerException: not null })
        {
            exception = exception.InnerException!;
        }

        return exception;
    }
}
