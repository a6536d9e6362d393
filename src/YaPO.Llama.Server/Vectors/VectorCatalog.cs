using System.Globalization;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Server.Vectors;

/// <summary>
/// The allow-list: turns what a request says about steering into settings. A request's <c>steering</c> list, vectors in its model name
/// (<c>model+vector</c>), and the server's default, in this order: a list says everything (an empty one: no steering) but may be joined by the vectors of
/// the model name, which it overrides where both name one; without a list the model name counts; without either the server's default.
/// </summary>
internal sealed class VectorCatalog
{
    private readonly string modelId;
    private readonly Dictionary<string, NamedVector> vectors;
    private readonly IReadOnlyList<SteeringSetting> standard;

    public VectorCatalog(ServerOptions options)
    {
        modelId = options.ModelId;
        vectors = new Dictionary<string, NamedVector>(StringComparer.Ordinal);
        Vectors = options.Vectors;
        foreach (var vector in options.Vectors)
        {
            if (!vectors.TryAdd(vector.Name, vector))
            {
                throw new YapoException(YapoErrorKind.InvalidArgument, $"two vectors are named {vector.Name}: give one of them another name (NAME=FILE)");
            }
        }

        try
        {
            standard = Resolve([.. Places(options.DefaultSteering, "default steering")]);
        }
        catch (ApiException e)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, e.Message, e);
        }

        Default = options.DefaultSteering;
    }

    /// <summary>All vectors, in the operator's order.</summary>
    public IReadOnlyList<NamedVector> Vectors { get; }

    /// <summary>What steers a request that says nothing.</summary>
    public IReadOnlyList<RequestedSteering> Default { get; }

    /// <summary>The settings of a request.</summary>
    /// <param name="model">As given; null: the model itself.</param>
    /// <param name="steering">As given; null: nothing was said.</param>
    /// <exception cref="ApiException">An unknown model or vector, a strength beyond its limits.</exception>
    public IReadOnlyList<SteeringSetting> Settings(string? model, IReadOnlyList<RequestedSteering>? steering)
    {
        var named = ParseModel(model);
        return named.Count == 0 && steering is null
            ? standard
            : Resolve([.. named.Where(n => steering?.Any(s => s.Vector == n.Vector) != true).Select(n => (n, "model")), .. Places(steering ?? [], "steering")]);
    }

    /// <summary>What acts, as a request would say it: after aliases, lists and defaults were put together.</summary>
    public IReadOnlyList<RequestedSteering> Describe(IReadOnlyList<SteeringSetting> settings) =>
    [
        .. settings.Select(s => new RequestedSteering(Vectors.First(v => v.Settings.Any(x => ReferenceEquals(x.Vector, s.Vector))).Name, s.Strength, s.Positions)).Distinct(),
    ];

    /// <summary>The records behind attached vectors, each under the name that requests use: names inside of files are nothing to tell vectors apart by.</summary>
    public IReadOnlyList<(string Name, SteeringVector Record)> Records(IReadOnlyList<AttachedVector> attached) =>
        [.. Vectors.SelectMany(v => v.Settings.Zip(v.File.Vectors, (setting, record) => (setting.Vector, v.Name, record))).Where(x => attached.Contains(x.Vector, ReferenceEqualityComparer.Instance)).Select(x => (x.Name, x.record))];

    /// <summary><c>model</c>, or <c>model+vector[:strength]…</c>.</summary>
    private List<RequestedSteering> ParseModel(string? model)
    {
        if (model is null || model == modelId)
        {
            return [];
        }

        if (!model.StartsWith(modelId + "+", StringComparison.Ordinal))
        {
            throw NoSuchModel(model);
        }

        var named = new List<RequestedSteering>();
        foreach (var part in model[(modelId.Length + 1)..].Split('+'))
        {
            var colon = part.IndexOf(':', StringComparison.Ordinal);
            var (name, strength) = colon < 0 ? (part, (float?)null)
                : float.TryParse(part.AsSpan(colon + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out var value) ? (part[..colon], value)
                : throw NoSuchModel(model);
            named.Add(vectors.ContainsKey(name) ? new RequestedSteering(name, strength) : throw NoSuchModel(model));
        }

        return named;
    }

    private ApiException NoSuchModel(string model) => new(
        404,
        $"there is no model '{Short(model)}' here; this server has '{modelId}' and '{modelId}+VECTOR' with {Names()}",
        "model",
        "model_not_found");

    private static IEnumerable<(RequestedSteering Item, string Place)> Places(IReadOnlyList<RequestedSteering> list, string name) =>
        list.Select((item, i) => (item, string.Create(CultureInfo.InvariantCulture, $"{name}[{i}]")));

    /// <summary>Looks vectors up; errors name the place that said so: an item of a list, or the model's name.</summary>
    private List<SteeringSetting> Resolve(IReadOnlyList<(RequestedSteering Item, string Place)> requested)
    {
        var settings = new List<SteeringSetting>();
        for (var i = 0; i < requested.Count; i++)
        {
            var ((name, strength, positions), place) = requested[i];
            string Field(string field) => place == "model" ? place : $"{place}.{field}";
            if (!vectors.TryGetValue(name, out var vector))
            {
                throw ApiException.Bad(Field("vector"), $"there is no vector '{Short(name)}' here; this server has {Names()}", "vector_not_found");
            }

            if (requested.Take(i).Any(r => r.Item.Vector == name))
            {
                throw ApiException.Bad(Field("vector"), $"vector '{name}' is named twice");
            }

            if (strength is { } s && !(s >= vector.LeastStrength && s <= vector.MostStrength))
            {
                throw ApiException.Bad(
                    Field("strength"),
                    string.Create(CultureInfo.InvariantCulture, $"strength {s} of vector '{name}' is outside the limits of this server, {vector.LeastStrength} to {vector.MostStrength}"));
            }

            settings.AddRange(vector.Settings.Select(x => x with { Strength = strength ?? x.Strength, Positions = positions ?? x.Positions }));
        }

        return settings;
    }

    private string Names() => vectors.Count == 0 ? "no vectors" : string.Join(", ", Vectors.Select(v => $"'{v.Name}'").Take(20)) + (vectors.Count > 20 ? ", …" : "");

    private static string Short(string text) => text.Length <= 64 ? text : text[..64] + "…";
}
