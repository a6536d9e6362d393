using TorchSharp;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.TorchSharp;

/// <summary>The weights of the upper blocks and the head, dequantized: matrices [outputs, inputs] in the chosen precision, norms, biases and rotary factors F32.</summary>
internal sealed class TorchWeights : IDisposable
{
    private const long ValuesAtOnce = 1 << 24;
    private readonly Dictionary<string, torch.Tensor> _tensors = [];

    /// <summary>Reads every weight of <paramref name="model"/>, a few million values at a time.</summary>
    public TorchWeights(UpperModel model, torch.Device device, torch.ScalarType matrices)
    {
        try
        {
            foreach (var tensor in model.Tensors)
            {
                _tensors.Add(tensor.Name, Load(model, tensor, device, tensor.Rows > 1 ? matrices : torch.ScalarType.Float32));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The weight of that name; null where the architecture has none.</summary>
    public torch.Tensor? Find(string name) => _tensors.GetValueOrDefault(name);

    /// <summary>The weight of that name, which every supported architecture has.</summary>
    public torch.Tensor this[string name] => _tensors[name];

    public void Dispose()
    {
        foreach (var tensor in _tensors.Values)
        {
            tensor.Dispose();
        }

        _tensors.Clear();
    }

    private static torch.Tensor Load(UpperModel model, UpperTensor tensor, torch.Device device, torch.ScalarType type)
    {
        using var scope = torch.NewDisposeScope();
        var step = Math.Max(1, ValuesAtOnce / tensor.Row);
        var parts = new List<torch.Tensor>();
        for (var first = 0L; first < tensor.Rows; first += step)
        {
            var rows = Math.Min(step, tensor.Rows - first);
            var values = new float[rows * tensor.Row]; // one per part: libtorch may keep it
            model.ReadRows(tensor, first, values);
            parts.Add(torch.tensor(values).reshape(rows, tensor.Row).to(type, device));
        }

        var all = parts.Count == 1 ? parts[0] : torch.cat(parts, 0);
        return (tensor.Rows > 1 ? all : all.reshape(tensor.Row)).DetachFromDisposeScope();
    }
}
