namespace YaPO.Llama.Cli.Terminal;

/// <summary>How much is written to stderr.</summary>
internal enum Verbosity
{
    /// <summary>Errors only.</summary>
    Quiet,

    /// <summary>Progress, notes and warnings.</summary>
    Normal,

    /// <summary>Also llama.cpp's own log and the stack of a failure.</summary>
    Verbose,
}
