using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Evaluation;

/// <summary>Roles of the tokens of a text that is all prompt.</summary>
internal static class TokenRoles
{
    /// <summary>BOS where there is one, then prompt tokens, the last of them the end.</summary>
    public static TokenRole[] Of(LlamaModel model, IReadOnlyList<int> tokens)
    {
        var roles = new TokenRole[tokens.Count];
        Array.Fill(roles, TokenRole.Prompt);
        roles[^1] = TokenRole.PromptEnd;
        if (tokens[0] == model.Info.BosToken)
        {
            roles[0] = TokenRole.Bos;
        }

        return roles;
    }
}
