using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace YaPO.Llama.Tests.Architecture;

/// <summary>Cli → Server / Training / Evaluation → YaPO.Llama → Interop → native, held against the project files and the sources.</summary>
public sealed partial class LayeringTests
{
    private static readonly Dictionary<string, string[]> AllowedReferences = new()
    {
        ["YaPO.Llama.Interop"] = [],
        ["YaPO.Llama"] = ["YaPO.Llama.Interop"],
        ["YaPO.Llama.Training"] = ["YaPO.Llama"],
        ["YaPO.Llama.Evaluation"] = ["YaPO.Llama"],
        ["YaPO.Llama.Server"] = ["YaPO.Llama"],
        ["YaPO.Llama.ExtensionsAI"] = ["YaPO.Llama"],
        ["YaPO.Llama.LLamaSharp"] = ["YaPO.Llama"],
        ["YaPO.Llama.TorchSharp"] = ["YaPO.Llama.Training"],
        ["YaPO.Llama.Cli"] = ["YaPO.Llama.Training", "YaPO.Llama.Evaluation", "YaPO.Llama.Server"],
    };

    [Fact]
    public void ProjectReferences_PointOneWay()
    {
        var found = Directory.GetFiles(Path.Combine(Repository.Root, "src"), "*.csproj", SearchOption.AllDirectories)
            .ToDictionary(project => Path.GetFileNameWithoutExtension(project)!, References);

        found.Keys.Should().BeEquivalentTo(AllowedReferences.Keys, "a new project needs its place in the layering, here and in the README");
        foreach (var (project, references) in found)
        {
            references.Should().BeEquivalentTo(AllowedReferences[project], $"{project} may reference only the layer below");
        }
    }

    [Theory]
    [InlineData("LLamaSharp")]
    [InlineData("TorchSharp")]
    public void DefaultBuild_KnowsNoAdapter(string adapter)
    {
        File.ReadAllText(Path.Combine(Repository.Root, "YaPO.Llama.sln")).Should().NotContain(adapter, "its package is not to be had everywhere");
        References(Path.Combine(Repository.Root, "tests", "YaPO.Llama.Tests", "YaPO.Llama.Tests.csproj")).Should().NotContain($"YaPO.Llama.{adapter}");
        foreach (var project in Directory.GetFiles(Path.Combine(Repository.Root, "src"), "*.csproj", SearchOption.AllDirectories))
        {
            References(project).Should().NotContain($"YaPO.Llama.{adapter}", $"{project} is part of the default build");
        }
    }

    [Fact]
    public void Cli_ReferencesTorchSharpWhereAskedTo()
    {
        var optional = XDocument.Load(Path.Combine(Repository.Root, "src", "YaPO.Llama.Cli", "YaPO.Llama.Cli.csproj")).Descendants("ProjectReference")
            .Where(reference => (string?)reference.Parent!.Attribute("Condition") == "'$(WithTorchSharp)' == 'true'");

        optional.Should().ContainSingle().Which.Attribute("Include")!.Value.Should().EndWith("YaPO.Llama.TorchSharp.csproj");
    }

    [Fact]
    public void NativeImports_LiveInInteropOnly()
    {
        var offenders = Sources()
            .Where(file => !file.Contains($"{Path.DirectorySeparatorChar}YaPO.Llama.Interop{Path.DirectorySeparatorChar}", StringComparison.Ordinal))
            .Where(file => ImportAttribute().IsMatch(File.ReadAllText(file)))
            .Select(file => Path.GetRelativePath(Repository.Root, file));

        offenders.Should().BeEmpty("every P/Invoke belongs to YaPO.Llama.Interop");
    }

    [Fact]
    public void Interop_ExportsNothing()
    {
        var types = System.Reflection.Assembly.Load("YaPO.Llama.Interop").GetExportedTypes().Select(t => t.Name);

        types.Should().BeEmpty("the bindings are an implementation detail of YaPO.Llama");
    }

    [Fact]
    public void Sources_HaveNoDumpingGrounds()
    {
        var names = Sources().Select(Path.GetFileNameWithoutExtension)
            .Concat(Directory.GetDirectories(Path.Combine(Repository.Root, "src"), "*", SearchOption.AllDirectories).Select(Path.GetFileName));

        names.Should().NotContain(name => name == "Utils" || name == "Helpers" || name == "Common" || name!.EndsWith("Utils") || name.EndsWith("Helper") || name.EndsWith("Manager"));
    }

    private static string[] References(string project) =>
        // Those of the default build: what a property switches on stands in a group of its own.
        [.. XDocument.Load(project).Descendants("ProjectReference").Where(reference => reference.Parent!.Attribute("Condition") is null)
            .Select(reference => Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value.Replace('\\', '/')))];

    private static IEnumerable<string> Sources() =>
        Directory.GetFiles(Path.Combine(Repository.Root, "src"), "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal)
                        && !file.Contains($"{Path.DirectorySeparatorChar}bin{Path.DirectorySeparatorChar}", StringComparison.Ordinal));

    [GeneratedRegex(@"\[(LibraryImport|DllImport)\(")]
    private static partial Regex ImportAttribute();
}
