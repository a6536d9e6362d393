namespace YaPO.Llama.DemoWorld.Vocabulary;

/// <summary>
/// Cuts text into the stretches that pieces never cross: an optional space (as ▁) with a run of letters and the line break right after it, or with one
/// other character. So llama.cpp's greedy merging over the whole text gives the same pieces as merging stretch by stretch.
/// </summary>
public static class PreTokens
{
    /// <summary>SentencePiece's visible space.</summary>
    public const char Space = '▁';

    /// <summary>The stretches of a text in which spaces are already ▁.</summary>
    public static IEnumerable<string> Split(string text)
    {
        for (var i = 0; i < text.Length;)
        {
            var start = i;
            if (text[i] == Space && i + 1 < text.Length && text[i + 1] != Space && text[i + 1] != '\n')
            {
                i++;
            }

            if (char.IsLetter(text[i]))
            {
                while (i < text.Length && char.IsLetter(text[i]))
                {
                    i++;
                }

                // "user" and "model" stand at a line's end in every turn: one token each instead of two.
                i += i < text.Length && text[i] == '\n' ? 1 : 0;
            }
            else
            {
                i += char.IsSurrogatePair(text, i) ? 2 : 1;
            }

            yield return text[start..i];
        }
    }
}
