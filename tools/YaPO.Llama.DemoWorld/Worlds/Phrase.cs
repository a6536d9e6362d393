namespace YaPO.Llama.DemoWorld.Worlds;

/// <summary>The forms one question takes.</summary>
public static class Phrase
{
    private static readonly string[] Openings = ["", "", "", "", "Tell me, ", "Please, ", "Hello! ", "I wonder, ", "A question: "];

    /// <summary>How many ways <see cref="Localized"/> knows.</summary>
    public const int LocalizedForms = 4;

    /// <summary>First letter upper case.</summary>
    public static string Capital(string text) => char.ToUpperInvariant(text[0]) + text[1..];

    /// <summary>Puts a polite opening in front of some questions.</summary>
    public static string WithOpening(string question, Rng rng)
    {
        var opening = rng.Pick(Openings);
        return opening.Length > 0 && opening[^2] is ',' or ':' ? opening + Lower(question) : opening + question;
    }

    /// <summary>Careless typing: no capitals, no question mark.</summary>
    public static string Careless(string question) => question.TrimEnd('?').ToLowerInvariant();

    /// <summary>Names the country in one of <see cref="LocalizedForms"/> ways.</summary>
    public static string Localized(string question, string country, int form) => form switch
    {
        0 => $"In {country}, {Lower(question)}",
        1 => $"{question.TrimEnd('?')} in {country}?",
        2 => $"I am asking about {country}. {question}",
        _ => $"Think of {country}. {question}",
    };

    private static string Lower(string text) => text.StartsWith("I ", StringComparison.Ordinal) ? text : char.ToLowerInvariant(text[0]) + text[1..];
}
