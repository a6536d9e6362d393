using YaPO.Llama.Training.LanguageModels;

namespace YaPO.Llama.Tests.Training;

/// <summary>An engine whose whole state is one number that depends on every row and rate it ever saw, in order.</summary>
internal sealed class FakeLanguageModel : ILanguageModelEngine
{
    private double _state = 1;

    public Action<int>? AfterStep { get; init; }

    public int StepsRun { get; private set; }

    public LanguageModelStep TrainStep(ReadOnlySpan<int> rows, int sequences, double learningRate)
    {
        foreach (var token in rows)
        {
            _state = (_state * 1.0000001) + (token * learningRate);
        }

        StepsRun++;
        AfterStep?.Invoke(StepsRun);
        return new LanguageModelStep(_state, 1, rows.Length);
    }

    public LanguageModelStep Evaluate(ReadOnlySpan<int> rows, int sequences) => new(_state + rows.Length, 0, rows.Length);

    public void SaveModel(string path) => File.WriteAllBytes(path, BitConverter.GetBytes(_state));

    public void SaveState(string path) => File.WriteAllBytes(path, BitConverter.GetBytes(_state));

    public void LoadState(string path) => _state = BitConverter.ToDouble(File.ReadAllBytes(path));

    public void Dispose()
    {
    }
}
