namespace YaPO.Llama.Batching;

/// <summary>Requests that wait, first come first served for one client and clients in turn. Any thread.</summary>
internal sealed class FairQueue(int limit, int limitPerClient)
{
    private readonly Lock gate = new();
    private readonly LinkedList<(string Client, LinkedList<RunningAnswer> Waiting)> clients = new();
    private int count;
    private bool closed;

    /// <summary>Requests that wait.</summary>
    public int Count => Volatile.Read(ref count);

    /// <summary>Puts a request at the end of its client's line.</summary>
    /// <exception cref="RequestRefusedException">The queue is full or closed.</exception>
    public void Add(RunningAnswer answer)
    {
        lock (gate)
        {
            if (closed)
            {
                throw new RequestRefusedException(RefusalReason.Stopping, "the engine is shutting down");
            }

            if (count >= limit)
            {
                throw new RequestRefusedException(RefusalReason.QueueFull, $"{count} requests are waiting already; try again later");
            }

            var line = Find(answer.Request.Client)?.Value.Waiting;
            if (line?.Count >= limitPerClient)
            {
                throw new RequestRefusedException(RefusalReason.QueueFull, $"{line.Count} of your requests are waiting already; try again later");
            }

            if (line is null)
            {
                clients.AddLast((answer.Request.Client, line = new LinkedList<RunningAnswer>()));
            }

            line.AddLast(answer);
            count++;
        }
    }

    /// <summary>
    /// Takes requests in turn. <paramref name="decide"/> sees one after the other: true takes it (its client goes to the end of the round), false leaves
    /// it and looks at the next one, null ends the round.
    /// </summary>
    public void Take(Func<RunningAnswer, bool?> decide)
    {
        lock (gate)
        {
            var tried = new HashSet<RunningAnswer>();
            while (Next(tried) is var (client, answer))
            {
                switch (decide(answer))
                {
                    case null:
                        return;
                    case false:
                        tried.Add(answer);
                        break;
                    default:
                        RemoveFrom(client, answer);
                        if (client.List is not null)
                        {
                            clients.Remove(client);
                            clients.AddLast(client);
                        }

                        break;
                }
            }
        }
    }

    /// <summary>Takes a request out; false when it no longer waits.</summary>
    public bool Remove(RunningAnswer answer)
    {
        lock (gate)
        {
            return Find(answer.Request.Client) is { } client && RemoveFrom(client, answer);
        }
    }

    /// <summary>Refuses everything from now on and returns what was waiting.</summary>
    public IReadOnlyList<RunningAnswer> Close()
    {
        lock (gate)
        {
            closed = true;
            var waiting = clients.SelectMany(c => c.Waiting).ToList();
            clients.Clear();
            count = 0;
            return waiting;
        }
    }

    private (LinkedListNode<(string Client, LinkedList<RunningAnswer> Waiting)> Client, RunningAnswer Answer)? Next(HashSet<RunningAnswer> tried)
    {
        for (var client = clients.First; client is not null; client = client.Next)
        {
            foreach (var answer in client.Value.Waiting)
            {
                if (!tried.Contains(answer))
                {
                    return (client, answer);
                }
            }
        }

        return null;
    }

    private LinkedListNode<(string Client, LinkedList<RunningAnswer> Waiting)>? Find(string client)
    {
        for (var node = clients.First; node is not null; node = node.Next)
        {
            if (node.Value.Client == client)
            {
                return node;
            }
        }

        return null;
    }

    private bool RemoveFrom(LinkedListNode<(string Client, LinkedList<RunningAnswer> Waiting)> client, RunningAnswer answer)
    {
        if (!client.Value.Waiting.Remove(answer))
        {
            return false;
        }

        count--;
        if (client.Value.Waiting.Count == 0)
        {
            clients.Remove(client);
        }

        return true;
    }
}
