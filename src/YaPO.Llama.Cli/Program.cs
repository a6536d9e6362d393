using YaPO.Llama.Cli;
using YaPO.Llama.Cli.Terminal;

using var console = CommandConsole.ForProcess();
return await CommandLineProgram.RunAsync(args, console).ConfigureAwait(false);
