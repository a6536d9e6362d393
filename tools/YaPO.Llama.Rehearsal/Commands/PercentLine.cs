namespace YaPO.Llama.Rehearsal.Commands;

/// <summary>Progress on stderr, one line per ten per cent.</summary>
internal sealed class PercentLine(string what)
{
    private int _told = -1;

    public void Report(double share)
    {
        var tenth = (int)(share * 10);
        if (tenth > _told)
        {
            _told = tenth;
            Console.Error.WriteLine($"{what}: {tenth * 10} %");
        }
    }
}
