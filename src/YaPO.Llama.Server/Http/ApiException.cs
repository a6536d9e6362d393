using YaPO.Llama.Batching;

namespace YaPO.Llama.Server.Http;

/// <summary>A request that is answered with an error, in the form that OpenAI's clients understand.</summary>
internal sealed class ApiException(int status, string message, string? param = null, string? code = null) : Exception(message)
{
    /// <summary>HTTP status.</summary>
    public int Status { get; } = status;

    /// <summary>The field at fault.</summary>
    public string? Param { get; } = param;

    /// <summary>For programs.</summary>
    public string? Code { get; } = code;

    /// <summary>OpenAI's word for the status.</summary>
    public string Type => Status switch
    {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        501 => "not_supported_error",
        >= 500 => "server_error",
        _ => "invalid_request_error",
    };

    /// <summary>A field that cannot be right.</summary>
    public static ApiException Bad(string param, string message, string? code = null) => new(400, message, param, code);

    /// <summary>What the client is told of an exception; null for a client that has left.</summary>
    public static ApiException? From(Exception exception) => exception switch
    {
        ApiException e => e,
        OperationCanceledException => null,
        RequestRefusedException { Reason: RefusalReason.QueueFull } e => new ApiException(429, e.Message, code: "queue_full"),
        RequestRefusedException e => new ApiException(503, e.Message, code: "stopping"),
        YapoException { Kind: YapoErrorKind.InvalidArgument or YapoErrorKind.Unsupported } e => new ApiException(400, e.Message),
        YapoException e => new ApiException(500, e.Message),
        Microsoft.AspNetCore.Http.BadHttpRequestException e => new ApiException(e.StatusCode, e.StatusCode == 413 ? "the body is larger than this server allows" : e.Message),
        _ => new ApiException(500, "the server failed; its log says why"),
    };
}
