namespace YaPO.Llama.Tests;

/// <summary>Where the checkout is that these tests were built from.</summary>
internal static class Repository
{
    /// <summary>The folder that holds YaPO.Llama.sln.</summary>
    public static string Root { get; } = Find();

    private static string Find()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "YaPO.Llama.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException($"YaPO.Llama.sln was not found above {AppContext.BaseDirectory}");
    }
}
