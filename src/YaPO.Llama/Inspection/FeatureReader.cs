using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Inspection;

/// <summary>A token of a text and the latents that fire on it.</summary>
/// <param name="Position">Zero-based, BOS counted.</param>
/// <param name="Token">Token id.</param>
/// <param name="Text">What it adds to the text; empty for the first parts of a character that several tokens make.</param>
/// <param name="IsBos">BOS carries a huge norm that SAEs are not trained on: its activations mean nothing.</param>
/// <param name="Active">Every active latent, the strongest first; of BOS perhaps not all.</param>
public sealed record TokenFeatures(int Position, int Token, string Text, bool IsBos, IReadOnlyList<FeatureActivation> Active)
{
    /// <summary>The activation of one latent here; 0 where it is silent.</summary>
    public float Activation(int feature)
    {
        foreach (var active in Active)
        {
            if (active.Feature == feature)
            {
                return active.Activation;
            }
        }

        return 0;
    }
}

/// <summary>Reads which latents of an SAE fire on texts, before the steering of the SAE's own layer. One thread at a time.</summary>
public sealed class FeatureReader : IDisposable
{
    private readonly LlamaModel model;
    private readonly LlamaContext context;
    private readonly ActiveLatents latents;
    private readonly IReadOnlyList<SteeringSetting> steering;
    private readonly DecodeBatch batch;
    private readonly bool output;

    /// <summary>Creates a context for texts of up to <paramref name="maxTokens"/> and puts the SAE on the device.</summary>
    /// <param name="model">The model.</param>
    /// <param name="sae">Any activation; must stay open while this is created.</param>
    /// <param name="maxTokens">Longest text.</param>
    /// <param name="threads">0: the number of physical cores.</param>
    /// <param name="steering">What acts while the text is read; null: nothing.</param>
    /// <exception cref="YapoException">The SAE is for another width or layer (<see cref="YapoErrorKind.Mismatch"/>), or there is no memory.</exception>
    public FeatureReader(LlamaModel model, SaeFile sae, int maxTokens, int threads = 0, IReadOnlyList<SteeringSetting>? steering = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(sae);
        SaeFitCheck.Require(model.Info, sae);
        this.model = model;
        this.steering = steering ?? [];
        batch = new DecodeBatch(this.steering.Count);
        context = new LlamaContext(model, ReadingOptions.For(maxTokens, threads));
        output = ReadingOptions.NeedsOutput(model, [sae.Info.Layer]);
        try
        {
            context.SetVectors([.. this.steering.Select(s => s.Vector)]);
            latents = new ActiveLatents(context, sae);
        }
        catch
        {
            context.Dispose();
            throw;
        }
    }

    /// <summary>Reads one text, given as tokens.</summary>
    /// <exception cref="YapoException">No token, or more than the context holds.</exception>
    public IReadOnlyList<TokenFeatures> Read(ReadOnlySpan<int> tokens, CancellationToken cancellation = default) =>
        Read(Conversation.RawTokens(model, tokens), cancellation);

    internal TokenFeatures[] Read(IReadOnlyList<SequenceToken> tokens, CancellationToken cancellation)
    {
        if (tokens.Count == 0 || tokens.Count > context.ContextSize)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"the text has {tokens.Count} tokens, expected 1 to {context.ContextSize}");
        }

        batch.Clear();
        foreach (var token in tokens)
        {
            batch.Add(token.Id, batch.Count, output: output || batch.Count == tokens.Count - 1, rowStrengths: [.. steering.Select(s => s.At(batch.Count, token.Role))]);
        }

        latents.Decode(batch, cancellation);
        var assembler = new Utf8Assembler();
        var result = new TokenFeatures[tokens.Count];
        for (var t = 0; t < result.Length; t++)
        {
            var text = assembler.Append(model.TokenPiece(tokens[t].Id, special: true)) + (t == result.Length - 1 ? assembler.Flush() : "");
            result[t] = new TokenFeatures(t, tokens[t].Id, text, tokens[t].Role == TokenRole.Bos, latents.Row(t));
        }

        return result;
    }

    /// <inheritdoc/>
    public void Dispose() => context.Dispose();
}
