using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Chat;

/// <summary>What acts in a chat: the vectors with their current strengths, on or off, and features turned by hand.</summary>
internal sealed class ChatSteering(IReadOnlyList<LoadedVector> vectors, FeatureSource features)
{
    private readonly SortedDictionary<int, float> _byHand = [];
    private List<LoadedVector> _vectors = [.. vectors];
    private SteeringSetting? _handVector;

    /// <summary>The vectors, with the strengths they have now.</summary>
    public IReadOnlyList<LoadedVector> Vectors => _vectors;

    /// <summary>Whether the vectors act; features turned by hand always do.</summary>
    public bool IsOn { get; private set; } = true;

    /// <summary>Features turned by hand and by how much.</summary>
    public IReadOnlyDictionary<int, float> ByHand => _byHand;

    /// <summary>What the session attaches.</summary>
    public IReadOnlyList<SteeringSetting> Settings =>
        [.. IsOn ? _vectors.SelectMany(v => v.Settings) : [], .. _handVector is { } hand ? new[] { hand } : []];

    public void Switch(bool on) => IsOn = on;

    /// <summary>Takes other vectors instead, and turns them on.</summary>
    public void Replace(IReadOnlyList<LoadedVector> vectors)
    {
        _vectors = [.. vectors];
        IsOn = true;
    }

    /// <summary>Sets the strength of all vectors, or of vector <paramref name="number"/> (from 1), and turns them on.</summary>
    /// <exception cref="YapoException">There is no such vector.</exception>
    public void SetStrength(float strength, int? number)
    {
        if (_vectors.Count == 0 || number > _vectors.Count)
        {
            throw new YapoException(
                YapoErrorKind.InvalidArgument, _vectors.Count == 0 ? "no vector is attached; /vector FILE attaches one" : $"there is no vector {number}; there are {_vectors.Count}");
        }

        for (var i = 0; i < _vectors.Count; i++)
        {
            if (number is null || number == i + 1)
            {
                // The attached vector stays the same object, so that nothing is uploaded again.
                _vectors[i] = _vectors[i] with { Settings = [.. _vectors[i].Settings.Select(s => s with { Strength = strength })] };
            }
        }

        IsOn = true;
    }

    /// <summary>Adds <paramref name="value"/> of one feature by hand, in units of its activation; 0 takes it away again.</summary>
    /// <exception cref="YapoException">There is no SAE to take the feature from, or no such feature in it.</exception>
    public void TurnFeature(int index, float value)
    {
        var before = _byHand.TryGetValue(index, out var old) ? old : (float?)null;
        if (value == 0)
        {
            _byHand.Remove(index);
        }
        else
        {
            _byHand[index] = value;
        }

        try
        {
            _handVector = _byHand.Count == 0 ? null : SteeringSetting.Create(features.Vector([.. _byHand.Keys], [.. _byHand.Values]), 1, SteeringPositions.All, features.Sae);
        }
        catch
        {
            _byHand.Remove(index);
            if (before is { } restored)
            {
                _byHand[index] = restored;
            }

            throw;
        }
    }
}
