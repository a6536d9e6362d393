using YaPO.Llama.Tests.Training;

namespace YaPO.Llama.TorchSharp.Tests;

/// <summary>The suite that the built-in engine passes: methods, files, refusals.</summary>
public sealed class TorchSteeringContractTests() : SteeringContract(new TorchPairEngineFactory("cpu"));

/// <summary>The suite that the built-in engine passes: log-probabilities and gradients on every architecture.</summary>
public sealed class TorchPairEngineContractTests() : PairEngineContract(new TorchPairEngineFactory("cpu"));
