using YaPO.Llama.Steering;

namespace YaPO.Llama.Server.Vectors;

/// <summary>A vector as a request names it.</summary>
/// <param name="Vector">Name on the allow-list.</param>
/// <param name="Strength">Null: its default.</param>
/// <param name="Positions">Null: its default.</param>
public sealed record RequestedSteering(string Vector, float? Strength = null, SteeringPositions? Positions = null);
