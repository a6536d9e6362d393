using System.Runtime.CompilerServices;
using YaPO.Llama.Interop;

namespace YaPO.Llama.Training.LanguageModels;

/// <summary><see cref="ILanguageModelEngine"/> over libyapo's trainer (yapo_train.h).</summary>
internal sealed class NativeLanguageModel : ILanguageModelEngine
{
    private readonly LmTrainerHandle _handle;
    private readonly int _rowLength;

    private NativeLanguageModel(LmTrainerHandle handle, int rowLength) => (_handle, _rowLength) = (handle, rowLength);

    public static NativeLanguageModel Create(string gguf, LanguageModelOptions options)
    {
        var native = new yapo_lm_options { struct_size = (uint)Unsafe.SizeOf<yapo_lm_options>() };
        NativeMethods.yapo_lm_default_options(ref native);
        native.struct_size = (uint)Unsafe.SizeOf<yapo_lm_options>();
        native.n_ctx = options.ContextLength;
        native.n_workers = options.Workers;
        native.micro_batch = options.MicroBatch;
        native.beta1 = (float)options.Beta1;
        native.beta2 = (float)options.Beta2;
        native.epsilon = (float)options.Epsilon;
        native.weight_decay = (float)options.WeightDecay;
        native.gradient_clip = (float)options.GradientClip;
        NativeMethods.yapo_lm_create(gguf, native, out var handle, out var error).Check(error);
        return new NativeLanguageModel(handle, options.ContextLength + 1);
    }

    public LanguageModelStep TrainStep(ReadOnlySpan<int> rows, int sequences, double learningRate)
    {
        Expect(rows, sequences);
        var step = new yapo_lm_step { struct_size = (uint)Unsafe.SizeOf<yapo_lm_step>() };
        NativeMethods.yapo_lm_train_step(_handle, rows, sequences, (float)learningRate, ref step, out var error).Check(error);
        return new LanguageModelStep(step.loss, step.gradient_norm, step.tokens);
    }

    public LanguageModelStep Evaluate(ReadOnlySpan<int> rows, int sequences)
    {
        Expect(rows, sequences);
        var step = new yapo_lm_step { struct_size = (uint)Unsafe.SizeOf<yapo_lm_step>() };
        NativeMethods.yapo_lm_evaluate(_handle, rows, sequences, ref step, out var error).Check(error);
        return new LanguageModelStep(step.loss, 0, step.tokens);
    }

    public void SaveModel(string path) => NativeMethods.yapo_lm_save_model(_handle, path, out var error).Check(error);

    public void SaveState(string path) => NativeMethods.yapo_lm_save_state(_handle, path, out var error).Check(error);

    public void LoadState(string path) => NativeMethods.yapo_lm_load_state(_handle, path, out var error).Check(error);

    public void Dispose() => _handle.Dispose();

    private void Expect(ReadOnlySpan<int> rows, int sequences)
    {
        if (rows.Length != (long)sequences * _rowLength)
        {
            throw new ArgumentException($"{sequences} rows of {_rowLength} need {(long)sequences * _rowLength} tokens, got {rows.Length}");
        }
    }
}
