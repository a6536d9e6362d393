using System.CommandLine;
using YaPO.Llama;
using YaPO.Llama.DemoWorld.Commands;

var root = new RootCommand("Generates the demo world: corpus, vocabulary, model, SAE, data sets, vectors and their report, from a seed.")
{
    BuildCommand.Build(),
    SampleCommand.Build(),
    ProbeCommand.Build(),
    ReportCommand.Build(),
};

try
{
    return await root.Parse(args).InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (OperationCanceledException)
{
    return 130;
}
catch (YapoException e)
{
    await Console.Error.WriteLineAsync(e.Message);
    return e.Kind == YapoErrorKind.InvalidArgument ? 2 : e.Kind == YapoErrorKind.Failed ? 1 : 3;
}
