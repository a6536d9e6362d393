using TorchSharp;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.TorchSharp;

/// <summary>
/// <see cref="IPairEngine"/> on a float copy of the blocks above the steered one and the head, in libtorch. Residuals and codes are those that llama.cpp captured; what
/// follows is computed in F32, or with BF16 weights. One call at a time: libtorch's own threads, or the GPU, share a sequence.
/// </summary>
internal sealed class TorchPairEngine : IPairEngine
{
    // As in libyapo: a power of two that keeps the gradients of tokens predicted with p > 0.999999 out of the denormal numbers.
    private const double LossScale = 65536;
    private readonly PairEngineInput _input;
    private readonly UpperShape _shape;
    private readonly TorchBlocks _blocks;
    private readonly torch.Device _device;
    private readonly long[] _firstRow;
    private readonly Lock _busy = new();
    private TorchSite[] _sites = [];
    private int _parameters;

    public TorchPairEngine(PairEngineInput input, torch.Device device, TorchPrecision precision, string name)
    {
        (_input, _device, Name) = (input, device, name);
        _firstRow = new long[input.Sequences.Count];
        for (var i = 1; i < _firstRow.Length; i++)
        {
            _firstRow[i] = _firstRow[i - 1] + input.Sequences[i - 1].Tokens.Length;
        }

        using var model = UpperModel.Load(input.Model, input.Layer);
        _shape = model.Shape;
        if (device.type == DeviceType.CPU)
        {
            torch.set_num_threads(Math.Max(1, input.Workers));
        }

        _blocks = TorchDevice.Guard($"copying the blocks above {input.Layer} of {input.Model} to {device}", () => new TorchBlocks(model, device, precision));
        _blocks.Reserve(input.Sequences.Max(s => s.Tokens.Length));
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public int Workers => 1;

    /// <inheritdoc/>
    public void SetLatents(LatentSet latents)
    {
        if (latents.Blocks[0].Layer < _shape.Layer || latents.Blocks[^1].Layer >= _shape.LayerCount || latents.Blocks.Any(b => b.Rows.ModelWidth != _shape.ModelWidth))
        {
            throw new YapoException(
                YapoErrorKind.Mismatch,
                $"latents of blocks {string.Join(", ", latents.Blocks.Select(b => b.Layer))} and d_model {latents.Blocks[0].Rows.ModelWidth}; expected blocks {_shape.Layer} … {_shape.LayerCount - 1} and {_shape.ModelWidth}");
        }

        lock (_busy)
        {
            DisposeSites();
            _parameters = latents.Parameters;
            _sites = TorchDevice.Guard($"copying {_parameters} latents to {_device}", () => latents.Parts().Select(p => new TorchSite(p.Layer, p.Rows, p.First, _device)).ToArray());
        }
    }

    /// <inheritdoc/>
    public double LogProb(int worker, int sequence, ReadOnlySpan<float> v, double multiplier)
    {
        Expect(v, multiplier);
        var values = v.ToArray();
        lock (_busy)
        {
            return TorchDevice.Guard(Doing(sequence), () =>
            {
                using var none = torch.no_grad();
                using var scope = torch.NewDisposeScope();
                return Finite(Run(sequence, values, multiplier, out _, out _).data<double>()[0]);
            });
        }
    }

    /// <inheritdoc/>
    public double LogProbGradient(int worker, int sequence, ReadOnlySpan<float> v, double multiplier, double scale, Span<float> gradient)
    {
        Expect(v, multiplier);
        if (_parameters == 0 || gradient.Length != _parameters)
        {
            throw new ArgumentException($"the gradient has {gradient.Length} entries, expected {_parameters}", nameof(gradient));
        }

        var values = v.Length == 0 ? new float[_parameters] : v.ToArray();
        float[] found;
        double logprob;
        lock (_busy)
        {
            (logprob, found) = TorchDevice.Guard(Doing(sequence), () => Differentiate(sequence, values, multiplier));
        }

        for (var k = 0; k < found.Length; k++)
        {
            gradient[k] += (float)(scale * found[k]);
        }

        return logprob;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        DisposeSites();
        _blocks.Dispose();
    }

    private (double LogProb, float[] Gradient) Differentiate(int sequence, float[] v, double multiplier)
    {
        using var scope = torch.NewDisposeScope();
        var logprob = Run(sequence, v, multiplier, out var parameters, out var steered);
        var value = Finite(logprob.detach().data<double>()[0]);
        var seed = LossScale;
        for (var attempt = 0; ; attempt++)
        {
            var last = attempt == 1;
            var gradients = torch.autograd.grad([logprob * seed], [parameters!, steered!], null, !last, false, false);
            var dh = gradients[1].to(torch.CPU).contiguous().data<float>().ToArray();
            var (finite, zero) = (Array.TrueForAll(dh, float.IsFinite), Array.TrueForAll(dh, x => x == 0));
            if (finite && (!zero || (last && value > -1e-6))) // certain of the completion: then a gradient of zero is the truth
            {
                var dv = gradients[0].to(torch.CPU).contiguous().data<float>().ToArray();
                return (value, Array.ConvertAll(dv, x => (float)(x / seed)));
            }

            if (last)
            {
                throw new YapoException(
                    YapoErrorKind.Failed, $"the gradient of sequence {sequence}'s log-probability {(zero ? "vanished entirely" : "is not finite")} at loss scale {seed:g} (log-probability {value:g})");
            }

            seed *= zero ? 4096 : 1.0 / 4096;
        }
    }

    // Σ log p over the completion as F64; the parameters v and the lowest steered h', for gradients.
    private torch.Tensor Run(int sequence, float[] v, double multiplier, out torch.Tensor? parameters, out torch.Tensor? steered)
    {
        var tokens = _input.Sequences[sequence].Tokens;
        var start = _input.Sequences[sequence].CompletionStart;
        var x = torch.tensor(_input.Residuals.Slice(_firstRow[sequence], tokens.Length).ToArray()).reshape(tokens.Length, _shape.ModelWidth).to(_device);
        (parameters, steered) = (null, null);
        torch.Tensor? s = null;
        if (v.Length > 0 && _sites.Length > 0 && (multiplier != 0 || torch.is_grad_enabled()))
        {
            parameters = torch.tensor(v).to(_device);
            parameters.requires_grad = torch.is_grad_enabled();
            s = torch.tensor(Array.ConvertAll(_input.Weights[sequence], w => (float)(multiplier * w))).reshape(tokens.Length, 1).to(_device);
        }

        for (var il = _shape.Layer; il < _shape.LayerCount; il++)
        {
            x = il > _shape.Layer ? _blocks.Run(il, x) : x;
            if (s is not null && Array.Find(_sites, at => at.Layer == il) is { } site)
            {
                x = site.Steer(x, parameters!.narrow(0, site.First, site.Size), s, site.IsDense ? null : Codes(site, sequence, x));
                steered ??= x;
            }
        }

        var targets = torch.tensor(tokens[start..].Select(t => (long)t).ToArray()).to(_device);
        return _blocks.LogProbabilities(x.narrow(0, start - 1, tokens.Length - start), targets).to_type(torch.ScalarType.Float64).sum().to(torch.CPU);
    }

    // At the lowest block nothing that is trained changes them; above it the gradient flows into the encoder's input.
    private torch.Tensor Codes(TorchSite site, int sequence, torch.Tensor h)
    {
        var tokens = _input.Sequences[sequence].Tokens.Length;
        if (site.Layer == _shape.Layer && _input.Codes is { } codes)
        {
            return site.Dense(codes.Read(sequence, tokens), tokens);
        }

        return site.Encodes
            ? site.Encode(h)
            : throw new YapoException(YapoErrorKind.InvalidArgument, $"the latents of block {site.Layer} came without an encoder and the sequences without codes; one of the two is needed");
    }

    private void DisposeSites()
    {
        foreach (var site in _sites)
        {
            site.Dispose();
        }

        _sites = [];
    }

    private void Expect(ReadOnlySpan<float> v, double multiplier)
    {
        if (v.Length != 0 && v.Length != _parameters)
        {
            throw new ArgumentException($"v has {v.Length} entries, expected {_parameters}", nameof(v));
        }

        if (!double.IsFinite(multiplier))
        {
            throw new ArgumentOutOfRangeException(nameof(multiplier), multiplier, "the multiplier must be finite");
        }
    }

    private static double Finite(double logprob) => double.IsFinite(logprob)
        ? logprob
        : throw new YapoException(YapoErrorKind.Failed, $"the log-probability of the completion is {logprob}; is the steering vector or its strength out of range?");

    private string Doing(int sequence) => $"computing sequence {sequence} of {_input.Sequences[sequence].Tokens.Length} tokens on {_device}";
}
