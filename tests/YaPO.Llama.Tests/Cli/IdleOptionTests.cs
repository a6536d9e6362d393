namespace YaPO.Llama.Tests.Cli;

/// <summary>An option that is accepted acts: one that could do nothing beside the others is wrong usage, and the message says beside what it would act.</summary>
public sealed class IdleOptionTests
{
    private static readonly string[] Pairs = ["--model", "m.gguf", "--data", "pairs.jsonl", "--output", "v.ysv"];
    private static readonly string[] Experiment = ["--model", "m.gguf", "--data", "pairs.jsonl", "--validation", "v.jsonl"];

    [Theory]
    [InlineData("--strengths does nothing without --validation", "preference", "--strengths", "0.5,1")]
    [InlineData("--kl-budgets does nothing without --neutral", "perplexity", "--kl-budgets", "0.1")]
    [InlineData("--refusal-rules does nothing without --refusals", "mcq", "--refusal-rules", "r.json")]
    [InlineData("--control-items does nothing with --controls 0", "mcq", "--controls", "0", "--control-items", "5")]
    [InlineData("--few-shot does nothing without --shots", "mcq", "--few-shot", "f.jsonl")]
    [InlineData("--layout does nothing with --by text", "mcq", "--layout", "dotted")]
    [InlineData("--layout does nothing with --by generated", "mcq", "--by", "generated", "--layout", "dotted")]
    [InlineData("--show-options does nothing with --by letter", "mcq", "--by", "letter", "--show-options")]
    [InlineData("--max-tokens does nothing with --by text", "mcq", "-n", "5")]
    [InlineData("--behaviour does nothing without --judge", "behaviour", "--rules", "r.json", "--behaviour", "rudeness")]
    [InlineData("--rubric does nothing without --judge", "behaviour", "--rubric", "r.txt")]
    [InlineData("--refusal-rules does nothing without --refusals", "behaviour", "--rules", "r.json", "--refusal-rules", "r.json")]
    [InlineData("--top-k does nothing without --temp", "behaviour", "--top-k", "5")]
    public Task Eval_IdleOption_IsRefused(string expected, string suite, params string[] more) => Refused(expected, ["eval", suite, "--vector", "v.ysv", "--data", "d.jsonl", .. more]);

    [Theory]
    [InlineData("--prompt-only", "Think of Egypt.")]
    [InlineData("--validation", "v.jsonl")]
    [InlineData("--strengths", "1")]
    [InlineData("--sae", "s.gguf")]
    [InlineData("--train-data", "t.jsonl")]
    [InlineData("--neutral", "n.txt")]
    [InlineData("--controls", "9")]
    public Task Eval_OptionAboutAVector_WithoutOne_IsRefused(string option, string value) =>
        Refused($"{option} does nothing without --vector", ["eval", "mcq", "--model", "m.gguf", "--data", "d.jsonl", option, value]);

    [Theory]
    [InlineData("--layer does nothing with --method yapo", "--sae", "s.gguf", "--layer", "1")]
    [InlineData("--layer does nothing with --method sas", "--method", "sas", "--sae", "s.gguf", "--layer", "1")]
    [InlineData("--sae does nothing with --layer", "--method", "caa", "--sae", "s.gguf", "--layer", "1")]
    [InlineData("--max-features does nothing with --method bipo", "--method", "bipo", "--layer", "1", "--max-features", "8")]
    [InlineData("--rates does nothing with --method caa", "--method", "caa", "--layer", "1", "--rates", "0.1")]
    [InlineData("--learning-rate does nothing with --rates", "--sae", "s.gguf", "--rates", "0.1", "--learning-rate", "0.2")]
    [InlineData("--steps does nothing with --method caa", "--method", "caa", "--layer", "1", "--steps", "9")]
    [InlineData("--l1 does nothing with --method bipo", "--method", "bipo", "--layer", "1", "--l1", "0.1")]
    [InlineData("--method yapo works in the latent space of an SAE")]
    public Task Tune_IdleOption_IsRefused(string expected, params string[] more) => Refused(expected, ["tune", .. Experiment, "--neutral", "n.txt", "--output", "v.ysv", .. more]);

    [Theory]
    [InlineData("--learning-rate", "--learning-rate", "0.2")]
    [InlineData("--kl-budget does nothing without --neutral", "--kl-budget", "0.1")]
    [InlineData("--tau does nothing without sas among --methods", "--methods", "caa,yapo", "--tau", "0.5")]
    [InlineData("--rates does nothing without yapo or bipo among --methods", "--methods", "caa,sas", "--rates", "0.5")]
    [InlineData("--seeds does nothing without yapo or bipo among --methods", "--methods", "caa", "--seeds", "3")]
    [InlineData("--steps does nothing without yapo or bipo among --methods", "--methods", "caa", "--steps", "3")]
    [InlineData("--max-features does nothing without yapo among --methods", "--methods", "bipo", "--max-features", "3")]
    [InlineData("--refit-steps does nothing without yapo among --methods", "--methods", "bipo", "--refit-steps", "3")]
    public Task Methods_IdleOption_IsRefused(string expected, params string[] more) => Refused(expected, ["eval", "methods", .. Experiment, "--sae", "s.gguf", "--test", "t.jsonl", .. more]);

    [Theory]
    [InlineData("--kl-budget does nothing without --neutral", "--sae", "s.gguf", "--kl-budget", "0.1")]
    [InlineData("--max-features does nothing with --method caa", "--method", "caa", "--layer", "1", "--max-features", "3")]
    [InlineData("--sae does nothing with --layer", "--method", "caa", "--layer", "1", "--sae", "s.gguf")]
    [InlineData("--learning-rate does nothing with --method sas", "--method", "sas", "--sae", "s.gguf", "--learning-rate", "0.1")]
    public Task Transfer_IdleOption_IsRefused(string expected, params string[] more) => Refused(expected, ["eval", "transfer", .. Experiment, "--model", "n.gguf", "--test", "t.jsonl", .. more]);

    [Theory]
    [InlineData("--steps does nothing with --method caa", "--method", "caa", "--steps", "5")]
    [InlineData("--beta does nothing with --method sas", "--method", "sas", "--beta", "1")]
    [InlineData("--validation-data does nothing with --method caa", "--method", "caa", "--validation-data", "v.jsonl")]
    [InlineData("--log does nothing with --method caa", "--method", "caa", "--log", "l.jsonl")]
    [InlineData("--max-features does nothing with --method bipo", "--method", "bipo", "--top-k", "5")]
    [InlineData("--l1 does nothing with --method bipo", "--method", "bipo", "--l1", "1")]
    [InlineData("--refit-steps does nothing with --method bipo", "--method", "bipo", "--refit-steps", "5")]
    [InlineData("--refit-steps does nothing with --max-features 0", "--max-features", "0", "--refit-steps", "5")]
    [InlineData("--validate-every does nothing without --validation-data", "--validate-every", "5")]
    [InlineData("--patience does nothing without --validation-data", "--patience", "5")]
    [InlineData("--tau does nothing with --method yapo", "--tau", "0.5")]
    [InlineData("--answer-tokens does nothing with --method bipo", "--method", "bipo", "--answer-tokens", "last")]
    [InlineData("--type does nothing with --method bipo", "--method", "bipo", "--type", "f16")]
    [InlineData("--sae does nothing with --layer", "--method", "bipo", "--layer", "1", "--sae", "s.gguf")]
    [InlineData("--checkpoint-every does nothing without --checkpoint", "--checkpoint-every", "5")]
    public Task Train_IdleOption_IsRefused(string expected, params string[] more) => Refused(expected, ["train", .. Pairs, .. more]);

    [Theory]
    [InlineData("--target-l0 does nothing with --activation topk", "--activation", "topk", "--target-l0", "5")]
    [InlineData("--bandwidth does nothing with --activation topk", "--activation", "topk", "--bandwidth", "0.5")]
    [InlineData("--k does nothing with --activation jumprelu", "--k", "5")]
    [InlineData("--as-threshold does nothing with --activation jumprelu", "--as-threshold")]
    public Task SaeTrain_IdleOption_IsRefused(string expected, params string[] more) => Refused(expected, ["sae", "train", .. Pairs, "--layer", "1", .. more]);

    [Theory]
    [InlineData("--top-k does nothing without --temp", "generate", "-p", "x", "--top-k", "5")]
    [InlineData("--top-p does nothing without --temp", "generate", "-p", "x", "--top-p", "0.5", "--temp", "0")]
    [InlineData("--min-p does nothing without --temp", "chat", "--min-p", "0.5")]
    [InlineData("--text does nothing without --model", "sae", "convert", "--input", "x", "--output", "y", "--text", "t.txt")]
    public Task OtherCommands_IdleOption_IsRefused(string expected, params string[] args) => Refused(expected, [.. args, .. args[0] == "sae" ? Array.Empty<string>() : ["--model", "m.gguf"]]);

    /// <summary>What cannot be read is wrong usage before anything is asked of it.</summary>
    [Theory]
    [InlineData("'x'", "train", "--model", "m", "--data", "d", "--output", "o", "--max-features", "x")]
    [InlineData("'x'", "generate", "-p", "y", "--model", "m.gguf", "--temp", "x", "--top-k", "5")]
    [InlineData("'x'", "eval", "mcq", "--model", "m.gguf", "--data", "d", "--shots", "x")]
    [InlineData("'--model'", "generate", "-p", "y", "--model")]
    [InlineData("'--model'", "generate", "-p", "y", "--model", "a.gguf", "--model", "b.gguf")]
    [InlineData("'--checkpoint'", "train", "--model", "m", "--data", "d", "--output", "o", "--checkpoint", "a", "--checkpoint", "b")]
    [InlineData("'--port'", "serve", "--model", "m", "--port")]
    public Task UnreadableValues_AreReportedAsSuch(string expected, params string[] args) => Refused(expected, args);

    private static async Task Refused(string expected, string[] args)
    {
        var run = await CliRun.Of(args);

        run.ExitCode.Should().Be(2, run.Error);
        run.Error.Should().Contain(expected);
        run.Out.Should().BeEmpty();
    }
}
