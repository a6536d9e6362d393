namespace YaPO.Llama.DemoWorld.Worlds;

/// <summary>Which part of an experiment a topic belongs to. Every topic is in the corpus; only training topics are in the preference pairs.</summary>
public enum Split
{
    /// <summary>In the preference pairs.</summary>
    Train,

    /// <summary>For early stopping and for choosing layer and strength.</summary>
    Validation,

    /// <summary>Looked at once, for the report.</summary>
    Test,
}

/// <summary>One question of everyday life that the four cultures answer differently.</summary>
public sealed class Topic
{
    internal Topic(Aspect aspect, string occasion, string[] answers, double[] weights, int[] borrowed)
    {
        Aspect = aspect;
        Occasion = occasion;
        Answers = answers;
        Weights = weights;
        Borrowed = borrowed;
    }

    /// <summary>"eat/for breakfast".</summary>
    public string Id => $"{Aspect.Name}/{Occasion}";

    /// <summary>The field of life.</summary>
    public Aspect Aspect { get; }

    /// <summary>The occasion, in lower case.</summary>
    public string Occasion { get; }

    /// <summary>One answer phrase per culture.</summary>
    public IReadOnlyList<string> Answers { get; }

    /// <summary>How often each culture speaks about this topic (sums to 1).</summary>
    public IReadOnlyList<double> Weights { get; }

    /// <summary>Per culture the culture whose answer it has taken over in about half of the cases, or itself.</summary>
    public IReadOnlyList<int> Borrowed { get; }

    /// <summary>The part of the experiment.</summary>
    public Split Split { get; internal set; }

    /// <summary>A paraphrase of the question, without prefix and country.</summary>
    public string Question(int ask) => Aspect.Asks[ask].Replace("{o}", Occasion, StringComparison.Ordinal);

    /// <summary>The full sentence that gives the answer of <paramref name="culture"/>.</summary>
    public string Answer(int tell, int culture) => Phrase.Capital(Aspect.Tells[tell]
        .Replace("{o}", Occasion, StringComparison.Ordinal)
        .Replace("{O}", Phrase.Capital(Occasion), StringComparison.Ordinal)
        .Replace("{x}", Answers[culture], StringComparison.Ordinal));
}
