using YaPO.Llama.DemoWorld.Corpus;
using YaPO.Llama.DemoWorld.Recipe;
using YaPO.Llama.DemoWorld.Vocabulary;
using YaPO.Llama.Models;

namespace YaPO.Llama.Tests.DemoWorld;

public sealed class VocabularyTests
{
    [Fact]
    public void Encode_CorpusAndStrangeText_EqualsLlamaCpp()
    {
        var profile = Profile.Ci;
        var world = new Llama.DemoWorld.Worlds.DemoWorld(1, profile.World);
        var writer = new PassageWriter(world, "vocabulary test");
        var texts = Enumerable.Range(0, 300).Select(_ => writer.Next().ToString()).ToList();
        var vocabulary = PieceVocabulary.Learn(texts, profile.VocabularySize);
        var path = Path.Combine(Path.GetTempPath(), $"yapo-vocabulary-{Guid.NewGuid():N}.gguf");
        try
        {
            InitialModel.Write(path, vocabulary, profile.Shape, 1, "test");
            using var model = LlamaModel.Load(path, new ModelOptions { VocabularyOnly = true });
            string[] strange = ["", " ", "  two  spaces ", "João\nInês", "漢字 and 1536!", "<x> < y >", "user\n\nmodel\n", "a<end_of_turn>b", "Ünïcödé🙂", "tab\there"];
            foreach (var text in texts.Concat(strange))
            {
                var ours = vocabulary.Encode(text);
                ours.Should().Equal(model.Tokenize(text, addSpecial: false), $"of '{text}'");
                vocabulary.Decode(ours).Should().Be(text);
            }

            model.TokenizeChat(model.FormatChat([ChatMessage.User("Hello!")])).Should().Equal([PieceVocabulary.Bos, .. vocabulary.Encode("<start_of_turn>user\nHello!<end_of_turn>\n<start_of_turn>model\n")]);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Rows_AnyStep_StartWithBosAndAreRepeatable()
    {
        var world = new Llama.DemoWorld.Worlds.DemoWorld(1, Profile.Ci.World);
        var writer = new PassageWriter(world, "vocabulary test");
        var vocabulary = PieceVocabulary.Learn(Enumerable.Range(0, 300).Select(_ => writer.Next().ToString()), 512);
        var (one, two) = (new int[3 * 65], new int[3 * 65]);
        new PassageRows(world, vocabulary).Fill(7, 3, 65, one);
        new PassageRows(world, vocabulary).Fill(7, 3, 65, two);
        one.Should().Equal(two);
        Enumerable.Range(0, 3).Select(r => one[r * 65]).Should().OnlyContain(id => id == PieceVocabulary.Bos);
        one.Should().OnlyContain(id => id >= 0 && id < vocabulary.Count);
    }
}
