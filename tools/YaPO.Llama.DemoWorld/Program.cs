using YaPO.Llama.DemoWorld.Corpus;
using YaPO.Llama.DemoWorld.Worlds;
var world = new DemoWorld(ulong.Parse(args[0]), WorldSize.Full);
foreach (var s in Enum.GetValues<Split>()) Console.WriteLine($"{s} {world.Of(s).Count()} {string.Join(",", world.Of(s).GroupBy(t => t.Aspect.Name).Select(g => g.Key + g.Count()))}");
Console.WriteLine(string.Join(" ", world.Words.Groups().Where(g => g.Count > 1).OrderByDescending(g => g.Count).Select(g => $"{g.Count}:[{string.Join("; ", g.Select(t => t.Id))}]\n")));
var w = new PassageWriter(world, "corpus");
for (int i = 0; i < 12; i++) Console.WriteLine(w.Next() + "----");
