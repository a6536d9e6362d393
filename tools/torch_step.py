"""The gradient of one preference pair in PyTorch, beside what yapo-llama computed for the same pair.

    rehearsal step --model MODEL.gguf --sae SAE.gguf --data pairs.jsonl --output step.npz
    python3 tools/torch_step.py step.npz [--threads N] [--repeats N]

Same residuals, same vector, same upper blocks: the weights of the same GGUF as F32, read here without yapo-llama. Gemma-2 models of types F32, F16, Q8_0,
Q4_K and Q6_K. Prints one JSON document. Needs NumPy and PyTorch (Debian: python3-torch); without them it says so and exits with 77.
"""
import argparse, json, os, resource, struct, sys, time
early = argparse.ArgumentParser(add_help=False)
early.add_argument("--threads", default="1")
threads = early.parse_known_args()[0].threads
os.environ.update({name: threads for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")})  # read when the library is loaded
try:
    import numpy as np, torch
except ImportError as e:
    sys.exit(print(f"skipped: {e}. Install PyTorch (Debian: apt install python3-torch libopenblas0-pthread) to compare with it", file=sys.stderr) or 77)

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

def read_gguf(path):
    """(metadata, name -> (shape, type, bytes)), slowest axis first; nothing is read before it is used."""
    data, at = np.memmap(path, np.uint8, "r"), 0
    def take(fmt):
        nonlocal at
        size = struct.calcsize("<" + fmt)
        at += size
        return struct.unpack("<" + fmt, data[at - size:at].tobytes())[0]
    def value(kind):
        if kind == 8: return take(f"{take('Q')}s").decode("utf-8", "replace")
        if kind != 9: return take(NUMBERS[kind])
        element, n = take("I"), take("Q")
        return [value(element) for _ in range(n)]
    if take("4s") != b"GGUF" or take("I") != 3: sys.exit(f"{path} is not a GGUF version 3 file")
    n_tensors, n_keys = take("Q"), take("Q")
    metadata = {value(8): value(take("I")) for _ in range(n_keys)}
    infos = [(value(8), [take("Q") for _ in range(take("I"))][::-1], take("I"), take("Q")) for _ in range(n_tensors)]
    align = metadata.get("general.alignment", 32)
    start = at + -at % align
    return metadata, {name: (shape, kind, data[start + offset:]) for name, shape, kind, offset in infos}

def q8_0(b):
    d = b[:, :2].copy().view("<f2").astype(np.float32)
    return d * b[:, 2:].view(np.int8)

def q4_k(b):
    """256 weights: d, dmin (F16), 8 scales and 8 minima of 6 bits in 12 bytes, 128 bytes of nibbles."""
    d, dmin = (b[:, i:i + 2].copy().view("<f2").astype(np.float32) for i in (0, 2))
    s = b[:, 4:16]
    scale = np.concatenate([s[:, :4] & 63, (s[:, 8:] & 15) | (s[:, :4] >> 6 << 4)], 1).astype(np.float32)
    least = np.concatenate([s[:, 4:8] & 63, (s[:, 8:] >> 4) | (s[:, 4:8] >> 6 << 4)], 1).astype(np.float32)
    q = b[:, 16:].reshape(-1, 4, 1, 32)
    q = np.concatenate([q & 15, q >> 4], 2).reshape(-1, 8, 32)
    return ((d * scale)[:, :, None] * q - (dmin * least)[:, :, None]).reshape(-1, 256)

def q6_k(b):
    """256 weights: 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, d (F16)."""
    low, high = b[:, :128].reshape(-1, 2, 64), b[:, 128:192].reshape(-1, 2, 32)
    scale, d = b[:, 192:208].view(np.int8).astype(np.float32), b[:, 208:].copy().view("<f2").astype(np.float32)
    parts = [(low[:, :, :32] & 15) | (high & 3) << 4, (low[:, :, 32:] & 15) | (high >> 2 & 3) << 4, (low[:, :, :32] >> 4) | (high >> 4 & 3) << 4, (low[:, :, 32:] >> 4) | (high >> 6) << 4]
    q = np.stack(parts, 2).reshape(-1, 16, 16).astype(np.float32) - 32
    return (d[:, :, None] * scale[:, :, None] * q).reshape(-1, 256)

BLOCKS = {8: (34, 32, q8_0), 12: (144, 256, q4_k), 14: (210, 256, q6_k)}  # bytes, weights

def tensor(entry):
    shape, kind, data = entry
    n = int(np.prod(shape))
    if kind in (0, 1): return torch.from_numpy(data[:n * (4 if kind == 0 else 2)].view("<f4" if kind == 0 else "<f2").astype(np.float32).reshape(shape))
    if kind not in BLOCKS: sys.exit(f"tensor type {kind} is not supported; F32, F16, Q8_0, Q4_K and Q6_K are")
    size, weights, decode = BLOCKS[kind]
    out, step = np.empty(n, np.float32), 1 << 14
    blocks = data[:n // weights * size].reshape(-1, size)
    for i in range(0, len(blocks), step):  # in parts: the decoders' temporaries are several times the result
        out[i * weights:(i + step) * weights] = decode(np.ascontiguousarray(blocks[i:i + step])).reshape(-1)
    return torch.from_numpy(out.reshape(shape))

class Upper:
    """Blocks above a layer, final norm and head of a Gemma-2 model."""
    def __init__(self, path, layer):
        m, tensors = read_gguf(path)
        if m["general.architecture"] != "gemma2": sys.exit(f"{path}: architecture {m['general.architecture']}; this script knows gemma2")
        k = lambda name: m["gemma2." + name]
        self.heads, self.kv, self.eps, self.window = k("attention.head_count"), k("attention.head_count_kv"), k("attention.layer_norm_rms_epsilon"), k("attention.sliding_window")
        self.hd = m.get("gemma2.attention.key_length", k("embedding_length") // self.heads)
        self.theta, self.cap, self.final_cap = m.get("gemma2.rope.freq_base", 10000.0), m.get("gemma2.attn_logit_softcapping", 50.0), m.get("gemma2.final_logit_softcapping", 30.0)
        self.first, n = layer + 1, k("block_count")
        names = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "post_attention_norm", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down", "post_ffw_norm"]
        self.blocks = [{x: tensor(tensors[f"blk.{i}.{x}.weight"]) for x in names} for i in range(self.first, n)]
        self.norm, self.head = tensor(tensors["output_norm.weight"]), tensor(tensors["token_embd.weight"])

    def rms(self, x, w): return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * w

    def rope(self, x):  # [T, H, hd]: pairs (i, i + hd/2)
        half = self.hd // 2
        angle = torch.arange(len(x), dtype=torch.float64)[:, None] * self.theta ** (-torch.arange(half, dtype=torch.float64) * 2 / self.hd)
        c, s = angle.cos().float()[:, None], angle.sin().float()[:, None]
        return torch.cat([x[..., :half] * c - x[..., half:] * s, x[..., :half] * s + x[..., half:] * c], -1)

    def logprob(self, h, tokens, start):
        T = len(h)
        at = torch.arange(T)
        for i, b in enumerate(self.blocks, self.first):
            x = self.rms(h, b["attn_norm"])
            q, k, v = ((x @ b[n].T).view(T, -1, self.hd) for n in ("attn_q", "attn_k", "attn_v"))
            q, k = self.rope(q).transpose(0, 1), self.rope(k).transpose(0, 1).repeat_interleave(self.heads // self.kv, 0)
            s = self.cap * torch.tanh(q @ k.transpose(1, 2) / self.hd ** 0.5 / self.cap)
            hidden = at[None, :] > at[:, None]
            if i % 2 == 0: hidden = hidden | (at[:, None] - at[None, :] >= self.window)
            p = s.masked_fill(hidden, float("-inf")).softmax(-1)
            o = (p @ v.transpose(0, 1).repeat_interleave(self.heads // self.kv, 0)).transpose(0, 1).reshape(T, -1)
            h = h + self.rms(o @ b["attn_output"].T, b["post_attention_norm"])
            x = self.rms(h, b["ffn_norm"])
            a = x @ b["ffn_gate"].T  # GELU, tanh form, as old versions of PyTorch lack it
            g = 0.5 * a * (1 + torch.tanh(0.7978845608 * (a + 0.044715 * a ** 3)))
            h = h + self.rms((g * (x @ b["ffn_up"].T)) @ b["ffn_down"].T, b["post_ffw_norm"])
        logits = self.final_cap * torch.tanh(self.rms(h[start - 1:T - 1], self.norm) @ self.head.T / self.final_cap)
        return logits.log_softmax(-1).gather(1, tokens[start:, None]).sum()

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("step")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--repeats", type=int, default=3)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    step = np.load(args.step)
    said = json.loads(str(step["step"]))
    upper = Upper(said["model"], said["layer"])
    d = said["d_model"]
    enc, dec = (torch.from_numpy(step[n].reshape(-1, d)) for n in ("enc", "dec"))
    bias, threshold = torch.from_numpy(step["enc_bias"]), torch.from_numpy(step["threshold"])
    v = torch.from_numpy(step["v"]).requires_grad_()
    pair = []
    for side in ("chosen", "rejected"):
        h = torch.from_numpy(step[side + ".residual"].reshape(-1, d))
        pre = h @ enc.T + bias
        pair.append((h, pre.clamp(min=0) * (pre > threshold), torch.from_numpy(step[side + ".tokens"]), said[side + "_start"]))
    def run():
        v.grad = None
        values = []
        for (h, z, tokens, start), sign in zip(pair, (1, -1)):
            c = torch.maximum(v, -z)
            c[0] = 0  # BOS
            value = upper.logprob(h + c @ dec, tokens, start)
            (sign * value).backward()
            values.append(value.item())
        return values
    times = []
    for _ in range(args.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        values = run()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    g, own = v.grad.double(), torch.from_numpy(step["gradient"]).double()
    cpu, wall = sorted(times)[len(times) // 2]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({
        "torch": torch.__version__, "threads": args.threads, "latents": len(v), "tokens": [len(t) for _, _, t, _ in pair],
        "logprob": values, "yapo_logprob": [said["chosen_logprob"], said["rejected_logprob"]],
        "gradient_cosine": float(g @ own / g.norm() / own.norm()), "gradient_relative_l2": float((own - g).norm() / g.norm()),
        "cpu_seconds": cpu, "wall_seconds": wall, "yapo_cpu_seconds": said["cpu_seconds"], "yapo_wall_seconds": said["wall_seconds"], "cpu_ratio": cpu / said["cpu_seconds"],
        "peak_bytes": peak, "yapo_peak_bytes": said["peak_bytes"], "memory_ratio": peak / said["peak_bytes"],
    }, indent=2))

main()
