using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Sessions;

public sealed class ConversationTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    [Fact]
    public void Tokens_TwoTurns_EqualTheRenderedTextAndKnowTheAnswer()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });
        Turn[] turns = [new(ChatMessage.User("what is")), new(ChatMessage.Assistant("the model")), new(ChatMessage.User("eat"))];

        var tokens = Conversation.Tokens(model, turns, null);

        tokens.Select(t => t.Id).Should().Equal(model.TokenizeChat(model.FormatChat([.. turns.Select(t => t.Message)])));
        Roles(model, tokens).Should().Be("<bos> B|<start_of_turn>user\nwhat is<end_of_turn>\n<start_of_turn>model P|\n E|the model<end_of_turn> A|\n<start_of_turn>user\neat<end_of_turn>\n<start_of_turn>model P|\n E");
    }

    [Fact]
    public void Tokens_SampledAnswer_KeepsItsTokensEvenWhereTheTextWouldBeCutOtherwise()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });
        var letters = "the".SelectMany(c => model.Tokenize(c.ToString(), addSpecial: false)).ToArray();
        letters.Should().HaveCount(3);
        Turn[] turns = [new(ChatMessage.User("what")), new(ChatMessage.Assistant("the"), letters), new(ChatMessage.User("eat"))];

        var tokens = Conversation.Tokens(model, turns, null);

        tokens.Where(t => t.Role == TokenRole.Answer).Select(t => t.Id).Should().Equal([.. letters, RandomModel.EndOfTurn]);
    }

    [Fact]
    public void Tokens_AnswerThatTheTemplateTrims_StillKeepsItsTokens()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });
        var sampled = model.Tokenize(" the\n", addSpecial: false);
        Turn[] turns = [new(ChatMessage.User("what")), new(ChatMessage.Assistant(" the\n"), sampled), new(ChatMessage.User("eat"))];

        var tokens = Conversation.Tokens(model, turns, null);

        tokens.Where(t => t.Role == TokenRole.Answer).Select(t => t.Id).Should().Equal([.. sampled, RandomModel.EndOfTurn]);
    }

    [Fact]
    public void Tokens_SystemTurn_IsFoldedAndTheAnswersStayTheirs()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });
        var sampled = model.Tokenize("the", addSpecial: false);
        Turn[] turns = [new(ChatMessage.System("be a model")), new(ChatMessage.User("what")), new(ChatMessage.Assistant("the"), sampled), new(ChatMessage.User("eat"))];

        var tokens = Conversation.Tokens(model, turns, null);

        model.Detokenize([.. tokens.Select(t => t.Id)], special: true).Should().StartWith("<bos><start_of_turn>user\nbe a model\n\nwhat<end_of_turn>");
        tokens.Where(t => t.Role == TokenRole.Answer).Select(t => t.Id).Should().Equal([.. sampled, RandomModel.EndOfTurn]);
        tokens.Count(t => t.Id == RandomModel.Bos).Should().Be(1);
    }

    private static string Roles(LlamaModel model, List<SequenceToken> tokens)
    {
        var text = new List<string>();
        for (var i = 0; i < tokens.Count;)
        {
            var run = tokens.Skip(i).TakeWhile(t => t.Role == tokens[i].Role).ToArray();
            var letter = tokens[i].Role switch { TokenRole.Bos => 'B', TokenRole.Prompt => 'P', TokenRole.PromptEnd => 'E', _ => 'A' };
            text.Add($"{model.Detokenize([.. run.Select(t => t.Id)], special: true)} {letter}");
            i += run.Length;
        }

        return string.Join('|', text);
    }
}
