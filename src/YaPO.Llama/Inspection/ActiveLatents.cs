using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Inspection;

/// <summary>One latent of an SAE and how strongly it fired.</summary>
/// <param name="Feature">The latent's number.</param>
/// <param name="Activation">z, above 0.</param>
public readonly record struct FeatureActivation(int Feature, float Activation);

/// <summary>
/// Reads every active latent of every row of a decode through the graph's read-out, however many there are: rows with more than were asked for make it ask for
/// more and decode again. BOS, on which hundreds fire for no reason, is no reason to. The cache is cleared before each decode.
/// </summary>
internal sealed class ActiveLatents
{
    private const int FirstWidth = 128;
    private readonly LlamaContext context;
    private readonly SaeFile sae;
    private readonly CaptureSite site;
    private int width;
    private int[] latents = [];
    private float[] activations = [];
    private int[] counts = [];

    public ActiveLatents(LlamaContext context, SaeFile sae, CaptureSite site = CaptureSite.BeforeSteering)
    {
        (this.context, this.sae, this.site) = (context, sae, site);
        Widen(sae.Info.Activation == SaeActivation.TopK ? sae.Info.TopK : FirstWidth);
    }

    /// <summary>Evaluates the batch from an empty cache.</summary>
    public void Decode(DecodeBatch batch, CancellationToken cancellation)
    {
        while (true)
        {
            context.Remove(-1, 0);
            context.Decode(batch, cancellation);
            counts = new int[batch.Count];
            latents = new int[batch.Count * width];
            activations = new float[batch.Count * width];
            context.CopyReadout(0, latents, activations, counts);
            var most = Enumerable.Range(0, counts.Length).Max(row => IsBos(batch, row) ? 0 : counts[row]);
            if (most <= width)
            {
                return;
            }

            Widen(Math.Max(2 * width, most));
        }
    }

    /// <summary>How many latents are active at a row.</summary>
    public int Count(int row) => counts[row];

    /// <summary>The active latents of a row, the strongest first; of BOS only as many as the other rows needed.</summary>
    public FeatureActivation[] Row(int row)
    {
        var active = new FeatureActivation[Math.Min(counts[row], width)];
        for (var k = 0; k < active.Length; k++)
        {
            active[k] = new FeatureActivation(latents[(row * width) + k], activations[(row * width) + k]);
        }

        return active;
    }

    private bool IsBos(DecodeBatch batch, int row) => batch.Positions[row] == 0 && batch.Tokens[row] == context.Model.Info.BosToken;

    private void Widen(int wanted)
    {
        width = Math.Min(wanted, sae.Info.Width);
        context.SetReadout(new SaeReadout(sae, width, site));
    }
}
