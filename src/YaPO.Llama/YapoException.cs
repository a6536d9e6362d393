namespace YaPO.Llama;

/// <summary>What kind of thing went wrong; decides the exit code of the command line.</summary>
public enum YapoErrorKind
{
    /// <summary>An argument that cannot be right (exit code 2).</summary>
    InvalidArgument,

    /// <summary>A file that cannot be read or written (exit code 3 for inputs).</summary>
    Io,

    /// <summary>A file that is not what it claims to be (exit code 3).</summary>
    Format,

    /// <summary>Two good things that do not belong together, such as a vector and another model (exit code 3).</summary>
    Mismatch,

    /// <summary>Valid, but nothing this build or this architecture can do (exit code 3).</summary>
    Unsupported,

    /// <summary>Failed while running (exit code 1).</summary>
    Failed,
}

/// <summary>
/// An expected failure. The message is written for the person at the terminal: what failed, where, what was expected
/// and found, and what to do next. Cancellation is <see cref="OperationCanceledException"/>, never this.
/// </summary>
public sealed class YapoException : Exception
{
    /// <summary>Creates the exception.</summary>
    public YapoException(YapoErrorKind kind, string message, Exception? inner = null) : base(message, inner) => Kind = kind;

    /// <summary>What kind of thing went wrong.</summary>
    public YapoErrorKind Kind { get; }
}
