using System.CommandLine;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Options;

/// <summary>How an answer is sampled, as given. Temperature 0 is greedy.</summary>
internal sealed record SamplingSettings(int MaxTokens, float Temperature, int TopK, float TopP, float MinP, float RepeatPenalty, uint Seed)
{
    /// <summary>The settings as the library takes them.</summary>
    public GenerationOptions ToGeneration() => new()
    {
        MaxTokens = MaxTokens,
        Sampler = new SamplerOptions { Temperature = Temperature, TopK = TopK, TopP = TopP, MinP = MinP, RepeatPenalty = RepeatPenalty, Seed = Seed },
    };
}

/// <summary>The sampling options of generate and chat.</summary>
internal sealed class SamplingOptions
{
    private readonly Option<int> maxTokens;
    private readonly Option<bool> greedy = new("--greedy")
    {
        Description = "Take the most likely token at every step (default, unless --temp is given).",
    };

    private readonly Option<float> temperature = new Option<float>("--temp")
    {
        Description = "Temperature, 0 or more; 0 is greedy, higher is more varied.",
        DefaultValueFactory = _ => 0f,
        HelpName = "T",
    }.Within(0f, 100f);

    private readonly Option<int> topK = new Option<int>("--top-k")
    {
        Description = "With --temp: sample among the K most likely tokens. 0: all.",
        DefaultValueFactory = _ => 40,
        HelpName = "K",
    }.Within(0, int.MaxValue);

    private readonly Option<float> topP = new Option<float>("--top-p")
    {
        Description = "With --temp: sample among the likeliest tokens that together have probability P. 1: all.",
        DefaultValueFactory = _ => 0.95f,
        HelpName = "P",
    }.Within(0f, 1f);

    private readonly Option<float> minP = new Option<float>("--min-p")
    {
        Description = "With --temp: leave out tokens less likely than P times the likeliest. 0: off.",
        DefaultValueFactory = _ => 0.05f,
        HelpName = "P",
    }.Within(0f, 1f);

    private readonly Option<float> repeatPenalty = new Option<float>("--repeat-penalty")
    {
        Description = "Divides the logits of recent tokens; above 1 discourages repetition. 1: off.",
        DefaultValueFactory = _ => 1f,
        HelpName = "X",
    }.Within(0.01f, 100f);

    private readonly Option<uint> seed = new("--seed")
    {
        Description = "Seed of the sampler; the same seed gives the same text.",
        DefaultValueFactory = _ => 0u,
        HelpName = "N",
    };

    public SamplingOptions(int defaultMaxTokens)
    {
        maxTokens = new Option<int>("-n", "--max-tokens")
        {
            Description = "Longest answer, in tokens.",
            DefaultValueFactory = _ => defaultMaxTokens,
            HelpName = "N",
        }.Within(1, int.MaxValue);
    }

    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { maxTokens, greedy, temperature, topK, topP, minP, repeatPenalty, seed })
        {
            command.Options.Add(option);
        }

        command.Validators.Add(result =>
        {
            if (result.GetValue(greedy) && result.GetResult(temperature) is { Implicit: false } given && given.Tokens.Count > 0)
            {
                result.AddError("--greedy and --temp exclude each other");
            }

            result.RequireBeside(result.Value(temperature, 0) == 0, "--temp T above 0 (the likeliest token is taken at every step)", topK, topP, minP);
        });
    }

    public SamplingSettings Read(ParseResult parsed) => new(
        parsed.GetValue(maxTokens),
        parsed.GetValue(greedy) ? 0f : parsed.GetValue(temperature),
        parsed.GetValue(topK),
        parsed.GetValue(topP),
        parsed.GetValue(minP),
        parsed.GetValue(repeatPenalty),
        parsed.GetValue(seed));
}
