using System.Text;
using YaPO.Llama.Batching;

namespace YaPO.Llama.Tests.Batching;

public sealed class AnswerTextTests
{
    [Fact]
    public void Append_StopSpreadOverTokens_IsNeverShown()
    {
        var text = new AnswerText(["</end>"]);

        List<string> shown = [text.Append("Hello <"u8, null), text.Append("/e"u8, null), text.Append("nd>, more"u8, null)];

        shown.Should().Equal("Hello ", "", "");
        text.Stopped.Should().BeTrue();
        text.Flush().Should().BeEmpty();
    }

    [Fact]
    public void Flush_BeginningOfAStop_IsShownAfterAll()
    {
        var text = new AnswerText(["END"]);

        text.Append("ab E"u8, null).Should().Be("ab ");
        text.Append("N"u8, null).Should().BeEmpty();
        text.Flush().Should().Be("EN");
    }

    [Fact]
    public void TakeTokens_WithStop_LeavesOutTheTokensOfTheStopText()
    {
        var text = new AnswerText(["xy"]);
        SampledToken Token(int id) => new(id, -1, []);

        text.Append("ab"u8, Token(1));
        text.Append("x"u8, Token(2));
        text.TakeTokens(all: false).Select(t => t.Id).Should().Equal(1);
        text.Append("y"u8, Token(3));
        text.Flush();

        text.TakeTokens(all: true).Should().BeEmpty();
    }

    /// <summary>Where a token's text begins does not follow from the tokens' own lengths: a character may be spread over tokens, and a token may have no text.</summary>
    [Fact]
    public void TakeTokens_TextStart_IsThePlaceInTheAnswer()
    {
        var text = new AnswerText(["STOP"]);
        SampledToken Token(int id) => new(id, -1, []);
        var (shown, tokens) = (new StringBuilder(), new List<SampledToken>());
        void Append(byte[] bytes, int id)
        {
            shown.Append(text.Append(bytes, Token(id)));
            tokens.AddRange(text.TakeTokens(all: false));
        }

        Append([0xC3], 1);
        Append([0xA9], 2);
        Append([], 3);
        Append("abST"u8.ToArray(), 4); // shown in part: "ST" may become a stop text
        Append("cd"u8.ToArray(), 5);
        Append("e"u8.ToArray(), 6);

        shown.ToString().Should().Be("éabSTcde");
        tokens.Select(t => (t.Id, t.TextStart)).Should().Equal((1, 0), (2, 0), (3, 1), (4, 1), (5, 5), (6, 7));
    }

    /// <summary>Random texts over a tiny alphabet, cut at random bytes: what is shown is the text up to the first stop text, whatever the cuts.</summary>
    [Fact]
    public void Append_RandomTextsAndStops_AgreesWithLookingAtTheWholeText()
    {
        var random = new Random(5);
        string Word(int most) => string.Concat(Enumerable.Range(0, random.Next(1, most)).Select(_ => "abé😀"[..].EnumerateRunes().ElementAt(random.Next(4)).ToString()));
        var stopped = 0;
        for (var round = 0; round < 3000; round++)
        {
            var whole = Word(30);
            string[] stops = [.. Enumerable.Range(0, random.Next(4)).Select(_ => Word(5))];
            var bytes = Encoding.UTF8.GetBytes(whole);
            var text = new AnswerText(stops);
            var (shown, seen) = (new StringBuilder(), 0);
            while (seen < bytes.Length && !text.Stopped)
            {
                var n = Math.Min(random.Next(1, 6), bytes.Length - seen);
                shown.Append(text.Append(bytes.AsSpan(seen, n), null));
                seen += n;
            }

            shown.Append(text.Flush());

            // The first stop text that is complete in what was seen by then; nothing after it was looked at.
            var given = new UTF8Encoding().GetDecoder() is var decoder && new char[bytes.Length] is var chars ? new string(chars, 0, decoder.GetChars(bytes.AsSpan(0, seen), chars, false)) : "";
            var first = stops.Select(stop => given.IndexOf(stop, StringComparison.Ordinal)).Where(at => at >= 0).DefaultIfEmpty(-1).Min();
            text.Stopped.Should().Be(first >= 0);
            shown.ToString().Should().Be(first >= 0 ? given[..first] : whole, $"stops {string.Join('|', stops)} in {whole}");
            stopped += first >= 0 ? 1 : 0;
        }

        stopped.Should().BeInRange(500, 2500, "both outcomes must be frequent for this to mean anything");
    }
}
