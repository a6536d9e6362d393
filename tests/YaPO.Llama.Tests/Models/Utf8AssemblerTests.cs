using System.Text;
using YaPO.Llama.Models;

namespace YaPO.Llama.Tests.Models;

public sealed class Utf8AssemblerTests
{
    private const string Text = "Aß→🫓ماذا\u0000z";

    [Fact]
    public void Append_EverySplitIntoTwo_GivesTheTextWithoutHalfCharacters()
    {
        var bytes = Encoding.UTF8.GetBytes(Text);
        for (var cut = 0; cut <= bytes.Length; cut++)
        {
            var assembler = new Utf8Assembler();
            var first = assembler.Append(bytes.AsSpan(0, cut));
            var second = assembler.Append(bytes.AsSpan(cut));

            (first + second + assembler.Flush()).Should().Be(Text);
            first.Should().NotContain("\uFFFD");
            Text.Should().StartWith(first, $"cut at byte {cut}");
        }
    }

    [Fact]
    public void Append_ByteByByte_EmitsWholeCharactersOnly()
    {
        var assembler = new Utf8Assembler();
        var pieces = Encoding.UTF8.GetBytes(Text).Select(b => assembler.Append([b])).ToArray();

        string.Concat(pieces).Should().Be(Text);
        pieces.Should().NotContain(piece => piece.Length == 1 && char.IsSurrogate(piece[0]));
    }

    [Fact]
    public void Flush_UnfinishedCharacter_BecomesReplacement()
    {
        var assembler = new Utf8Assembler();

        assembler.Append([0xF0, 0x9F]).Should().BeEmpty();
        assembler.Flush().Should().Be("\uFFFD");
        assembler.Append("a"u8).Should().Be("a");
    }
}
