using YaPO.Llama.DemoWorld.Vocabulary;
using YaPO.Llama.DemoWorld.Worlds;

namespace YaPO.Llama.DemoWorld.Recipe;

/// <summary>Every size of a build. The same recipe at two sizes: what ships, and a twin small enough for the tests.</summary>
public sealed record Profile
{
    /// <summary>Name on the command line.</summary>
    public required string Name { get; init; }

    /// <summary>Topics and knowledge used.</summary>
    public required WorldSize World { get; init; }

    /// <summary>Tokens in the vocabulary, at most.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>The model.</summary>
    public required ModelShape Shape { get; init; }

    /// <summary>Tokens per training row.</summary>
    public required int RowLength { get; init; }

    /// <summary>Rows per step.</summary>
    public required int BatchSize { get; init; }

    /// <summary>Rows computed at once by one worker.</summary>
    public required int MicroBatch { get; init; }

    /// <summary>Steps of pretraining.</summary>
    public required int Steps { get; init; }

    /// <summary>Peak learning rate of pretraining.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Paraphrases of every test question.</summary>
    public required int QuestionsPerTopic { get; init; }

    /// <summary>What ships in models/demo.</summary>
    public static Profile Full { get; } = new()
    {
        Name = "full",
        World = WorldSize.Full,
        VocabularySize = 1536,
        Shape = new ModelShape(256, 4, 768, 4, 2, 64, 256),
        RowLength = 256,
        BatchSize = 16,
        MicroBatch = 4,
        Steps = 1200,
        LearningRate = 3e-3,
        QuestionsPerTopic = 8,
    };

    /// <summary>The twin that keeps the recipe alive in the tests.</summary>
    public static Profile Ci { get; } = new()
    {
        Name = "ci",
        World = new WorldSize(6, 8, 4),
        VocabularySize = 768,
        Shape = new ModelShape(128, 3, 256, 2, 1, 64, 256),
        RowLength = 128,
        BatchSize = 8,
        MicroBatch = 4,
        Steps = 500,
        LearningRate = 4e-3,
        QuestionsPerTopic = 4,
    };

    /// <summary>By name.</summary>
    public static Profile Parse(string name) => name switch
    {
        "full" => Full,
        "ci" => Ci,
        _ => throw new YapoException(YapoErrorKind.InvalidArgument, $"there is no profile '{name}'; use full or ci"),
    };
}
