using Microsoft.Extensions.Logging;

namespace YaPO.Llama.Cli.Terminal;

/// <summary>
/// Loggers that write one line per event to the console's stderr. --quiet shows errors, the default warnings, --verbose everything
/// (llama.cpp's own log included). Not LoggerFactory with its container, which costs a tenth of chat's second.
/// </summary>
internal sealed class StderrLoggerFactory(CommandConsole console) : ILoggerFactory
{
    public ILogger CreateLogger(string categoryName) => new StderrLogger(console, categoryName);

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("the command line has one log: stderr");

    public void Dispose()
    {
    }

    private sealed class StderrLogger(CommandConsole console, string category) : ILogger
    {
        // YaPO.Llama.Training.SteeringTrainer is the SteeringTrainer; llama.cpp stays llama.cpp.
        private readonly string name = category.StartsWith("YaPO.", StringComparison.Ordinal) ? category[(category.LastIndexOf('.') + 1)..] : category;

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel != LogLevel.None && logLevel >= console.Verbosity switch
        {
            Verbosity.Quiet => LogLevel.Error,
            Verbosity.Normal => LogLevel.Warning,
            _ => LogLevel.Trace,
        };

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (!IsEnabled(logLevel))
            {
                return;
            }

            var text = formatter(state, exception).TrimEnd('\n', '\r');
            if (text.Length == 0)
            {
                return;
            }

            var level = logLevel switch
            {
                LogLevel.Critical or LogLevel.Error => "error",
                LogLevel.Warning => "warning",
                LogLevel.Information => "info",
                _ => "debug",
            };
            console.WriteErrorLine($"{level}: {name}: {text}");
            if (exception is not null && console.Verbosity == Verbosity.Verbose)
            {
                console.WriteErrorLine(exception.ToString());
            }
        }
    }
}
