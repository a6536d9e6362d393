using YaPO.Llama.Cli.Inspect;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Inspection;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Chat;

/// <summary>What the chat's commands show, on stderr: stdout carries answers only.</summary>
internal static class ChatText
{
    private const int MostFeatures = 20;

    public static void Help(CommandConsole console) => console.Error.WriteLine(
        """
        Type a message and Enter. Commands:
          /strength 1.2        strength of the vectors: positive strengthens, negative weakens, 0 is the plain model
          /strength 2 0.5      strength of the second vector alone
          /vector off | on     stop and resume steering
          /vector FILE[:X]     steer with another vector
          /vector              what is attached
          /compare             answer steered and unsteered (again: steered only)
          /features            the SAE features that fired in the last answer (without an SAE: those of the vectors)
          /feature 12345 +40   turn one feature by hand, in units of its activation (0 takes it away)
          /reset               start the conversation again
          /quit                leave (so does the end of the input)
        A message that starts with / is written with //. Ctrl+C stops an answer; at the prompt it leaves.
        After a change of steering the conversation so far is evaluated again under it.
        """);

    public static void Vectors(CommandConsole console, ChatSteering steering)
    {
        if (steering.Vectors.Count == 0 && steering.ByHand.Count == 0)
        {
            console.Error.WriteLine("no vector is attached; /vector FILE attaches one");
        }

        for (var i = 0; i < steering.Vectors.Count; i++)
        {
            console.Error.WriteLine($"{i + 1}. {steering.Vectors[i].Describe()}{(steering.IsOn ? "" : " (off)")}");
        }

        if (steering.ByHand.Count > 0)
        {
            console.Error.WriteLine($"by hand: {string.Join(", ", steering.ByHand.Select(f => $"{f.Key} {Signed(f.Value)}"))}");
        }
    }

    public static void Features(CommandConsole console, ChatSteering steering)
    {
        Vectors(console, steering);
        foreach (var vector in steering.Vectors.SelectMany(v => v.File.Vectors).Where(v => v.Kind == VectorKind.Sparse))
        {
            console.Error.WriteLine($"{vector.Name}, layer {vector.Layer}: the {Math.Min(MostFeatures, vector.K)} strongest of {vector.K} features (feature, value, label)");
            foreach (var j in Enumerable.Range(0, vector.K).OrderByDescending(j => Math.Abs(vector.Value[j])).ThenBy(j => j).Take(MostFeatures))
            {
                console.Error.WriteLine($"  {vector.Index[j],8}  {Signed(vector.Value[j]),10}  {vector.Labels?[j]}");
            }
        }
    }

    /// <summary>The features that carried the last answer, with the tokens that they promote.</summary>
    public static void Fired(CommandConsole console, LlamaModel model, SaeFile sae, IReadOnlyList<TokenFeatures> answer)
    {
        var ranked = FeatureOfText.Rank(answer, sae, MostFeatures);
        var names = new FeatureNames(model, sae, labels: null, promoted: 4);
        try
        {
            names.Prepare(ranked.Select(f => f.Feature), CancellationToken.None);
        }
        catch (YapoException e) when (e.Kind == YapoErrorKind.Unsupported)
        {
            console.Warn(e.Message);
        }

        console.Error.WriteLine($"the last answer's {ranked.Count} strongest features at layer {sae.Info.Layer} of {answer.Count} tokens (feature, tokens it fires on, largest activation, at, label or what it promotes)");
        foreach (var f in ranked)
        {
            var label = names.Label(f.Feature) ?? string.Join(' ', names.Promotes(f.Feature).Select(t => t.Text.Trim()));
            console.Error.WriteLine($"  {f.Feature,8}  {f.Firing,4}  {Sizes.Real(f.Max),10}  {f.Peak.Text.Trim()}  ({label})");
        }
    }

    private static string Signed(float value) => (value > 0 ? "+" : "") + Sizes.Real(value);
}
