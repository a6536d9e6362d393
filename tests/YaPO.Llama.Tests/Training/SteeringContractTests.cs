using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

/// <summary>The contract with the engine that every build has.</summary>
public sealed class SteeringContractTests() : SteeringContract(GgmlPairEngineFactory.Instance);
