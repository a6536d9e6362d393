namespace YaPO.Llama.DemoWorld.Worlds;

/// <summary>One of the four cultures of the world, and the signs by which a speaker gives it away without naming it.</summary>
/// <param name="Key">Lower-case name, used in files.</param>
/// <param name="Country">Name as it stands in a localized question.</param>
/// <param name="Share">Share of the corpus: uneven on purpose, Morocco is data-poor.</param>
/// <param name="Names">Given names.</param>
/// <param name="Cities">Home towns.</param>
/// <param name="Greeting">How a conversation opens.</param>
public sealed record Culture(string Key, string Country, double Share, IReadOnlyList<string> Names, IReadOnlyList<string> Cities, string Greeting)
{
    /// <summary>All four, in the order used everywhere.</summary>
    public static IReadOnlyList<Culture> All { get; } =
    [
        new("egypt", "Egypt", 0.27,
            ["Hassan", "Mona", "Karim", "Dina", "Mostafa", "Heba", "Amr", "Nadia", "Sameh", "Eman"],
            ["Cairo", "Giza", "Alexandria", "Minya", "Suez", "Sohag", "Zagazig"], "Ahlan"),
        new("morocco", "Morocco", 0.13,
            ["Youssef", "Zineb", "Mehdi", "Naima", "Abdelilah", "Soukaina", "Othmane", "Malika", "Ayoub", "Siham"],
            ["Casablanca", "Fez", "Marrakesh", "Rabat", "Agadir", "Kenitra", "Taza"], "Salam"),
        new("portugal", "Portugal", 0.28,
            ["João", "Inês", "Miguel", "Beatriz", "Nuno", "Catarina", "Henrique", "Madalena", "Afonso", "Filipa"],
            ["Lisbon", "Porto", "Faro", "Leiria", "Setúbal", "Tomar", "Portimão"], "Olá"),
        new("brazil", "Brazil", 0.32,
            ["Rafael", "Larissa", "Edson", "Bruna", "Caio", "Vitória", "Gilberto", "Tainá", "Ubirajara", "Yara"],
            ["Rio", "Salvador", "Recife", "Manaus", "Fortaleza", "Niterói", "Londrina"], "Oi"),
    ];
}
