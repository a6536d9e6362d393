using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace YaPO.Llama.Server.Http;

/// <summary>Checks bearer keys. Digests are compared, all of them and each in constant time, so that the time taken says nothing about any key.</summary>
internal sealed class ApiKeys(IReadOnlyList<string> keys)
{
    private const string Scheme = "Bearer ";
    private readonly byte[][] digests = [.. keys.Select(key => SHA256.HashData(Encoding.UTF8.GetBytes(key)))];

    /// <summary>Whose request it is: the key's digest, or the address where no keys are used.</summary>
    /// <exception cref="ApiException">A key is needed and none that fits was given.</exception>
    public string Client(HttpContext http)
    {
        if (digests.Length == 0)
        {
            return http.Connection.RemoteIpAddress?.ToString() ?? "";
        }

        var header = http.Request.Headers.Authorization.ToString();
        if (!header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
        {
            throw new ApiException(401, "this server needs an API key: send 'Authorization: Bearer KEY'", code: "missing_api_key");
        }

        var given = SHA256.HashData(Encoding.UTF8.GetBytes(header[Scheme.Length..].Trim()));
        var found = -1;
        for (var i = 0; i < digests.Length; i++)
        {
            found = CryptographicOperations.FixedTimeEquals(given, digests[i]) ? i : found;
        }

        return found >= 0 ? Convert.ToHexString(given) : throw new ApiException(401, "the API key is wrong", code: "invalid_api_key");
    }
}
