using System.Text;
using YaPO.Llama.Datasets;
using YaPO.Llama.IO;
using YaPO.Llama.Models;

namespace YaPO.Llama.Training.Residuals;

/// <summary>
/// Text for statistics over a model's residuals. <c>.jsonl</c>: one document per line, <c>{"text": ".."}</c> raw, or <c>{"messages": [{role, content}..]}</c>
/// or a preference pair's <c>{"prompt": .., "chosen": ..}</c> formatted by the chat template. Anything else: plain text whose documents are separated by empty lines.
/// </summary>
public static class TextCorpus
{
    /// <summary>
    /// Token windows of at most <paramref name="maxTokens"/>: each document from its start, with BOS where the model wants one; a longer one is cut, and
    /// every part gets BOS again.
    /// </summary>
    /// <exception cref="YapoException">Unreadable, malformed (with the line number) or without text, or <paramref name="maxTokens"/> below 2.</exception>
    public static int[][] Read(string path, LlamaModel model, int maxTokens)
    {
        if (maxTokens < 2)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"windows of {maxTokens} tokens cannot hold BOS and a token of text; expected at least 2");
        }

        var windows = new List<int[]>();
        foreach (var tokens in Documents(path, model))
        {
            var bos = tokens.Length > 0 && tokens[0] == model.Info.BosToken ? 1 : 0;
            var step = maxTokens - bos;
            for (var start = bos; start < tokens.Length; start += step)
            {
                windows.Add([.. tokens.AsSpan(0, bos), .. tokens.AsSpan(start, Math.Min(step, tokens.Length - start))]);
            }
        }

        return windows.Count > 0 ? [.. windows] : throw new YapoException(YapoErrorKind.Format, $"{path} holds no text");
    }

    private static IEnumerable<int[]> Documents(string path, LlamaModel model)
    {
        if (path.EndsWith(".jsonl", StringComparison.OrdinalIgnoreCase))
        {
            return JsonLines.Read(path, line => line.Has("messages")
                ? model.TokenizeChat(model.FormatChat(line.Messages("messages", ChatMessage.UserRole), addGenerationPrompt: false))
                : line.Has("chosen")
                    ? model.TokenizeChat(model.FormatChat([.. line.Messages("prompt", ChatMessage.UserRole), .. line.Messages("chosen", ChatMessage.AssistantRole)], addGenerationPrompt: false))
                    : model.Tokenize(line.Text("text")));
        }

        return Paragraphs(path).Select(text => model.Tokenize(text));
    }

    private static IEnumerable<string> Paragraphs(string path)
    {
        using var reader = new StreamReader(InputFile.Open(path), Encoding.UTF8);
        var document = new StringBuilder();
        while (reader.ReadLine() is { } line)
        {
            if (line.Length > 0)
            {
                document.Append(document.Length > 0 ? "\n" : "").Append(line);
                continue;
            }

            if (document.Length > 0)
            {
                yield return document.ToString();
                document.Clear();
            }
        }

        if (document.Length > 0)
        {
            yield return document.ToString();
        }
    }
}
