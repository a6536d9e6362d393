namespace YaPO.Llama.Cli.Experiments;

/// <summary>SAS with a lower τ where no latent passes the one that was asked for, so that one data set does not end the comparison of all the others.</summary>
internal static class FallingTau
{
    /// <summary>The result at the first of τ and the tenths below it, down to 0.1, at which there is one.</summary>
    /// <param name="tau">Asked for.</param>
    /// <param name="make">Makes the vector; <see cref="YapoErrorKind.Failed"/> where no latent is left.</param>
    /// <param name="failed">Told of each τ without one.</param>
    /// <exception cref="YapoException">Of the last attempt, or another kind of failure.</exception>
    public static (double Tau, T Result) First<T>(double tau, Func<double, T> make, Action<double, YapoException> failed)
    {
        for (var tenths = (int)Math.Ceiling((tau * 10) - 1e-9); ; tenths--)
        {
            var tried = Math.Min(tau, tenths / 10.0);
            try
            {
                return (tried, make(tried));
            }
            catch (YapoException e) when (e.Kind == YapoErrorKind.Failed && tenths > 1)
            {
                failed(tried, e);
            }
        }
    }
}
