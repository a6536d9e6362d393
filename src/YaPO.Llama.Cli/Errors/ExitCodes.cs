namespace YaPO.Llama.Cli.Errors;

/// <summary>The exit codes that scripts rely on, and the one place that maps failures to them.</summary>
internal static class ExitCodes
{
    public const int Success = 0;

    /// <summary>Failed while running: out of memory, a full disk, a bug.</summary>
    public const int Failed = 1;

    /// <summary>Wrong usage: an unknown option, a value out of range.</summary>
    public const int Usage = 2;

    /// <summary>Bad or mismatching input: a file, model, vector or data set.</summary>
    public const int BadInput = 3;

    /// <summary>Interrupted by Ctrl+C or a termination signal.</summary>
    public const int Interrupted = 130;

    /// <summary>The exit code for a failure.</summary>
    public static int For(Exception exception) => exception switch
    {
        OperationCanceledException => Interrupted,
        YapoException { Kind: YapoErrorKind.InvalidArgument } => Usage,
        YapoException { Kind: YapoErrorKind.Io or YapoErrorKind.Format or YapoErrorKind.Mismatch or YapoErrorKind.Unsupported } => BadInput,
        FileNotFoundException or DirectoryNotFoundException => BadInput,
        _ => Failed,
    };
}
