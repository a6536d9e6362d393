using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Tests.Sessions;

/// <summary>The answers' places against the slow way of finding them: the chat rendered up to each answer, and up to behind it.</summary>
public sealed class AnswerRangesTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    private const string ChatMl = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    private const string Llama3 = "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";
    private const string Separated = "{% for m in messages %}{{ m.role | upper }}: {{ m.content }}{% if not loop.last or add_generation_prompt %}\n\n{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}";
    private const string Thinking = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    // As Qwen 3 does it: an empty thought before the last answer, none before earlier ones.
    private const string Rewriting = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    // Shows each answer again in the next turn's header: it has no one place.
    private const string Repeating = "{% for m in messages %}[{% if loop.previtem is defined and loop.previtem is not none %}{{ loop.previtem.content }}{% endif %}]{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[]assistant: {% endif %}";

    [Theory]
    [InlineData(null)]
    [InlineData(ChatMl)]
    [InlineData(Llama3)]
    [InlineData(Separated)]
    [InlineData(Thinking)]
    public void Find_RandomChats_EqualsTheRenderingUpToEachAnswer(string? template)
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });
        var random = new Random(1);
        var found = 0;
        for (var round = 0; round < 12; round++)
        {
            var (messages, text) = model.RenderChat(RandomChat(random, random.Next(1, 12)), addGenerationPrompt: true, template);

            var ranges = AnswerRanges.Find((some, header) => model.RenderChat(some, header, template).Text, messages, text);

            for (var i = 0; i < messages.Count; i++)
            {
                var expected = messages[i].Role == ChatMessage.AssistantRole ? Slowly(model, messages, i, text, template) : null;
                ranges[i].Should().Be(expected, "message {0} of round {1}: {2}", i, round, text);
                found += expected is null ? 0 : 1;
            }
        }

        found.Should().BeGreaterThan(15);
    }

    [Fact]
    public void Find_TemplateThatRewritesEarlierTurns_StillKnowsTheAnswers()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });
        ChatMessage[] messages = [ChatMessage.User("what"), ChatMessage.Assistant("the model"), ChatMessage.User("eat"), ChatMessage.Assistant("is"), ChatMessage.User("what")];
        var text = model.FormatChat(messages, templateOverride: Rewriting);

        var ranges = AnswerRanges.Find((some, header) => model.FormatChat(some, header, Rewriting), messages, text);

        Slowly(model, messages, 1, text, Rewriting).Should().BeNull("up to there, the answer was the last");
        ranges.Select(r => r is { } range ? text[range.Start..range.End] : null).Should().Equal(null, "the model<|im_end|>\n", null, "is<|im_end|>\n", null);
    }

    [Fact]
    public void Find_AnswerWithoutOnePlace_IsNotFound()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });
        ChatMessage[] messages = [ChatMessage.User("what"), ChatMessage.Assistant("the model"), ChatMessage.User("eat")];
        var text = model.FormatChat(messages, templateOverride: Repeating);
        text.Should().Contain("[the model]");

        AnswerRanges.Find((some, header) => model.FormatChat(some, header, Repeating), messages, text).Should().OnlyContain(range => range == null);
    }

    [Fact]
    public void Find_LongChat_RendersThreeTimes()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });
        var messages = Enumerable.Range(0, 401).Select(i => i % 2 == 0 ? ChatMessage.User($"what {i}") : ChatMessage.Assistant($"the {i}")).ToArray();
        var text = model.FormatChat(messages);
        var renderings = 0;

        var ranges = AnswerRanges.Find(
            (some, header) =>
            {
                renderings++;
                return model.FormatChat(some, header);
            },
            messages,
            text);

        renderings.Should().Be(3);
        ranges.Count(r => r is not null).Should().Be(200);
        var (start, end) = ranges[399]!.Value;
        text[start..end].Should().Be("the 399<end_of_turn>\n");
    }

    private static (int Start, int End)? Slowly(LlamaModel model, IReadOnlyList<ChatMessage> messages, int i, string text, string? template)
    {
        var before = model.RenderChat([.. messages.Take(i)], addGenerationPrompt: true, template).Text;
        var after = model.RenderChat([.. messages.Take(i + 1)], addGenerationPrompt: false, template).Text;
        return text.StartsWith(before, StringComparison.Ordinal) && text.StartsWith(after, StringComparison.Ordinal) && after.Length >= before.Length ? (before.Length, after.Length) : null;
    }

    // Contents that are empty, only space, long, non-ASCII, or look like the markup of a template or a mark.
    private static ChatMessage[] RandomChat(Random random, int turns)
    {
        string[] words = ["what", "the model", " eat ", "\n\n", "", "é 日本", "<|im_start|>assistant\n", "<start_of_turn>model\n", "ASSISTANT: ", "<|im_end|>", "qzx0y1a", "{{ x }}", "12", "</s>"];
        var chat = new List<ChatMessage>();
        for (var i = 0; i < turns; i++)
        {
            var content = string.Concat(Enumerable.Range(0, random.Next(0, 5)).Select(_ => words[random.Next(words.Length)]));
            chat.Add(i % 2 == 0 ? ChatMessage.User(content) : ChatMessage.Assistant(content));
        }

        if (random.Next(3) == 0)
        {
            chat.Insert(0, ChatMessage.System("be " + words[random.Next(words.Length)]));
        }

        return [.. chat];
    }
}
