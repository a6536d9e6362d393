using Microsoft.Extensions.Logging;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Models;

public sealed class LlamaModelTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    [Fact]
    public void Load_RandomModel_TellsItsShape()
    {
        using var model = LlamaModel.Load(file.Path);

        model.Info.Architecture.Should().Be("gemma2");
        model.Info.LayerCount.Should().Be(3);
        model.Info.ModelWidth.Should().Be(64);
        model.Info.BosToken.Should().Be(RandomModel.Bos);
        model.Info.AddsBos.Should().BeTrue();
        model.HasChatTemplate.Should().BeTrue();
        model.Meta("no.such.key").Should().BeNull();
    }

    [Fact]
    public void Load_MissingFile_IsAnIoErrorThatNamesIt()
    {
        var load = () => LlamaModel.Load("/no/such/dïr/model.gguf");

        load.Should().Throw<YapoException>().WithMessage("*/no/such/dïr/model.gguf*").Which.Kind.Should().Be(YapoErrorKind.Io);
    }

    [Fact]
    public void Load_CancelledToken_Throws()
    {
        using var source = new CancellationTokenSource();
        source.Cancel();

        var load = () => LlamaModel.Load(file.Path, cancellation: source.Token);

        load.Should().Throw<OperationCanceledException>();
    }

    [Fact]
    public void Load_ProgressThrows_TheExceptionArrivesUnchanged()
    {
        var load = () => LlamaModel.Load(file.Path, progress: new Throwing());

        load.Should().Throw<NotSupportedException>().WithMessage("listener");
    }

    [Fact]
    public void Tokenize_KnownWords_UsesMergesAndBos()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });

        var tokens = model.Tokenize("what is");

        tokens[0].Should().Be(RandomModel.Bos);
        tokens.Skip(1).Select(t => System.Text.Encoding.UTF8.GetString(model.TokenPiece(t))).Should().Equal("what", " is");
        model.Tokenize("what is", addSpecial: false).Should().Equal(tokens[1..]);
        model.Tokenize("", addSpecial: false).Should().BeEmpty();
    }

    [Theory]
    [InlineData("what is the model?")]
    [InlineData("ماذا تأكل؟ 🫓 ünïcödé")]
    [InlineData("line\nline\u0000after zero")]
    public void Detokenize_AnyText_GivesItBack(string text)
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });

        model.Detokenize(model.Tokenize(text, addSpecial: false, parseSpecial: false)).Should().Be(text);
    }

    [Fact]
    public void Tokenize_ControlTokenInText_ParsedOnlyOnRequest()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });

        model.Tokenize("<start_of_turn>a", addSpecial: false)[0].Should().Be(RandomModel.StartOfTurn);
        model.Tokenize("<start_of_turn>a", addSpecial: false, parseSpecial: false).Should().NotContain(RandomModel.StartOfTurn);
        model.IsControl(RandomModel.StartOfTurn).Should().BeTrue();
        model.IsEndOfGeneration(RandomModel.EndOfTurn).Should().BeTrue();
        model.IsEndOfGeneration(-5).Should().BeFalse();
        model.TokenPiece(RandomModel.StartOfTurn).Should().BeEmpty();
    }

    [Fact]
    public void TokenPiece_UnknownId_Throws()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });

        var piece = () => model.TokenPiece(1_000_000);

        piece.Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.InvalidArgument);
    }

    [Fact]
    public void FormatChat_SystemRoleRefused_GoesIntoTheFirstUserTurn()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });

        var text = model.FormatChat([ChatMessage.System("be brief"), ChatMessage.User("what is a model?")]);

        text.Should().Be("<bos><start_of_turn>user\nbe brief\n\nwhat is a model?<end_of_turn>\n<start_of_turn>model\n");
    }

    [Fact]
    public void FormatChat_RolesThatDoNotAlternate_ReportsTheTemplatesWords()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });

        var format = () => model.FormatChat([ChatMessage.User("a"), ChatMessage.User("b")]);

        format.Should().Throw<YapoException>().WithMessage("*must alternate*").Which.Kind.Should().Be(YapoErrorKind.Unsupported);
    }

    [Fact]
    public void FormatChat_ZeroCharacter_IsRefusedInsteadOfCuttingTheText()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });

        model.Invoking(m => m.FormatChat([ChatMessage.User("a\0b")])).Should().Throw<YapoException>().WithMessage("*message 0*zero*");
    }

    [Fact]
    public void TokenizeChat_TemplateWritesBos_ThereIsOne()
    {
        using var model = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });
        var chat = new[] { ChatMessage.User("what") };

        var own = model.TokenizeChat(model.FormatChat(chat));
        var without = model.TokenizeChat(model.FormatChat(chat)["<bos>".Length..]);

        own.Should().Equal(without);
        own.Count(t => t == RandomModel.Bos).Should().Be(1);
        own[0].Should().Be(RandomModel.Bos);
    }

    [Fact]
    public void Dispose_ModelBeforeItsContext_ContextStillDecodes()
    {
        var model = LlamaModel.Load(file.Path);
        var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, Threads = 1 });
        model.Dispose();

        var batch = new DecodeBatch();
        batch.Add(RandomModel.Bos, 0, output: true);
        context.Decode(batch);

        context.Logits(0).Should().OnlyContain(x => float.IsFinite(x));
        context.Dispose();
    }

    [Fact]
    public void RouteLog_LoadingAModel_ReachesTheLogger()
    {
        var logger = new Recording();
        LlamaRuntime.RouteLog(logger);
        try
        {
            LlamaModel.Load(file.Path).Dispose();
        }
        finally
        {
            LlamaRuntime.RouteLog(null);
        }

        var count = logger.Lines.Count;
        logger.Lines.Should().Contain(line => line.Contains("gemma2"));
        LlamaModel.Load(file.Path).Dispose();
        logger.Lines.Should().HaveCount(count, "the log was silenced");
    }

    [Fact]
    public void RouteLog_LoggerThrows_NothingHappens()
    {
        LlamaRuntime.RouteLog(new Recording { Fails = true });
        try
        {
            LlamaModel.Load(file.Path).Dispose();
        }
        finally
        {
            LlamaRuntime.RouteLog(null);
        }
    }

    [Fact]
    public void Devices_OnAnyMachine_ListsTheCpu() => LlamaRuntime.Devices().Should().Contain(d => d.Type == "cpu" && d.MemoryTotal > 0);

    private sealed class Throwing : IProgress<float>
    {
        public void Report(float value) => throw new NotSupportedException("listener");
    }

    private sealed class Recording : ILogger
    {
        public bool Fails { get; init; }

        public List<string> Lines { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (Fails)
            {
                throw new InvalidOperationException("logger");
            }

            lock (Lines)
            {
                Lines.Add(formatter(state, exception));
            }
        }
    }
}
