using System.Diagnostics;

namespace YaPO.Llama.Tests.Cli;

/// <summary><c>completion</c> and <c>--version</c>.</summary>
public sealed class CompletionTests
{
    [Theory]
    [InlineData("yapo-llama ser", "serve")]
    [InlineData("yapo-llama vector in", "info")]
    [InlineData("yapo-llama chat --vec", "--vector")]
    [InlineData("yapo-llama train --method ", "yapo")]
    [InlineData("yapo-llama completion z", "zsh")]
    public void Bash_SourcedScript_CompletesTheWord(string line, string expected)
    {
        var script = CliProcess.Run(AppContext.BaseDirectory, "", "completion", "bash");
        script.ExitCode.Should().Be(0, script.Error);

        // What bash sets before it calls a completion function; the word under the cursor is the last one, perhaps empty.
        var run = Shell("bash", ["-c", $$"""
            PATH={{AppContext.BaseDirectory}}:$PATH
            {{script.Out}}
            COMP_LINE='{{line}}' COMP_POINT={{line.Length}} COMP_WORDS=({{line}}) 
            [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _yapo_llama
            printf '%s\n' "${COMPREPLY[@]}"
            complete -p yapo-llama
            """]);

        run.Split('\n').Should().Contain(expected).And.Contain("complete -o default -F _yapo_llama yapo-llama");
    }

    [Theory]
    [InlineData("zsh", "compdef _yapo_llama yapo-llama")]
    [InlineData("fish", "complete -c yapo-llama")]
    public async Task OtherShells_ScriptRegistersItself(string shell, string registration)
    {
        var script = await CliRun.Of("completion", shell);

        script.ExitCode.Should().Be(0);
        script.Out.Should().Contain(registration).And.Contain("[suggest:");
    }

    // An interactive zsh on a terminal of its own (zpty), its completion system loaded, the script evaluated as our help says, the line typed, Tab pressed;
    // Ctrl+G then shows what stands on the command line.
    [ShellTheory("zsh")]
    [InlineData("yapo-llama ser", "yapo-llama serve ")]
    [InlineData("yapo-llama vector ver", "yapo-llama vector verify ")]
    [InlineData("yapo-llama chat --vec", "yapo-llama chat --vector ")]
    [InlineData("yapo-llama train --method ya", "yapo-llama train --method yapo ")]
    [InlineData("yapo-llama completion z", "yapo-llama completion zsh ")]
    public void Zsh_TabIsPressed_TheLineIsCompleted(string line, string expected)
    {
        var shown = Shell("zsh", ["-f", "-c", """
            PATH=$1:$PATH
            zmodload zsh/zpty
            zpty shell "TERM=dumb PS1= zsh -f -i"
            zpty -w shell 'autoload -Uz compinit && compinit -D -u; eval "$(yapo-llama completion zsh)"; shown() { print -r -- "<<$BUFFER>>"; BUFFER=; zle accept-line }; zle -N shown; bindkey "^G" shown; bindkey "^I" complete-word; print re""ady'
            while zpty -r shell out; do [[ $out == *ready* ]] && break; done
            zpty -w -n shell "$2"$'\t\a'
            while zpty -r shell out; do [[ $out == *'<<'*'>>'* ]] && { print -r -- "$out"; break }; done
            zpty -d shell
            """, "zsh", AppContext.BaseDirectory, line]);

        shown.Should().Contain($"<<{expected}>>");
    }

    [ShellTheory("fish")]
    [InlineData("yapo-llama ser", "serve")]
    [InlineData("yapo-llama vector in", "info")]
    [InlineData("yapo-llama chat --vec", "--vector")]
    [InlineData("yapo-llama train --method ", "yapo")]
    [InlineData("yapo-llama completion z", "zsh")]
    public void Fish_SourcedScript_OffersTheWord(string line, string expected)
    {
        // complete -C: what fish would offer where this line is typed.
        var offered = Shell("fish", ["--no-config", "-c", "set -gx PATH $argv[1] $PATH; yapo-llama completion fish | source; complete -C $argv[2]", AppContext.BaseDirectory, line]);

        offered.Split('\n').Should().Contain(expected);
    }

    [Fact]
    public async Task Shell_Unknown_IsWrongUsage()
    {
        var run = await CliRun.Of("completion", "tcsh");

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain("tcsh").And.Contain("bash");
    }

    [Fact]
    public void Version_NamesCommitLlamaCppAndBackends()
    {
        var run = CliProcess.Run(Path.GetTempPath(), "", "--version");

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Should().MatchRegex(@"^yapo-llama \d+\.\d+\.\d+, (commit [0-9a-f]{40}|built outside a git checkout)\nllama\.cpp v\d+\.\d+\.\d+, patched; backends: .*CPU");
        run.Error.Should().BeEmpty();
    }

    private static string Shell(string shell, string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(shell, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(TimeSpan.FromMinutes(2)))
        {
            process.Kill(entireProcessTree: true);
        }

        process.ExitCode.Should().Be(0, error.GetAwaiter().GetResult());
        return output.GetAwaiter().GetResult();
    }
}
