"""Reads a .ysv steering vector (a GGUF v3 file) with NumPy alone, and applies it to hidden states of the block it belongs to."""
import struct
import numpy as np

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

def read_ysv(path):
    """(metadata, tensors): keys as in the file; tensors with the slowest axis first, so v.0.enc and v.0.dec are [K, d_model]."""
    data, at = open(path, "rb").read(), 0
    def take(fmt):
        nonlocal at
        result = struct.unpack_from("<" + fmt, data, at)[0]
        at += struct.calcsize("<" + fmt)
        return result
    def value(kind):
        if kind == 8: return take(f"{take('Q')}s").decode("utf-8", "replace")
        if kind != 9: return take(NUMBERS[kind])
        element, n = take("I"), take("Q")
        return [value(element) for _ in range(n)]
    assert take("4s") == b"GGUF" and take("I") == 3, "not a GGUF version 3 file"
    n_tensors, n_keys = take("Q"), take("Q")
    metadata = {value(8): value(take("I")) for _ in range(n_keys)}
    infos = [(value(8), [take("Q") for _ in range(take("I"))][::-1], take("I"), take("Q")) for _ in range(n_tensors)]
    start, tensors = at + -at % 32, {}
    for name, shape, kind, offset in infos:  # 0 F32, 1 F16, 26 I32, 30 BF16: the upper half of an F32
        raw = np.frombuffer(data, {0: "<f4", 1: "<f2", 26: "<i4", 30: "<u2"}[kind], int(np.prod(shape)), start + offset)
        tensors[name] = ((raw.astype("<u4") << 16).view("<f4") if kind == 30 else raw).reshape(shape)
    return metadata, tensors

def steer(h, metadata, tensors, strength=None, i=0):
    """h [T, d_model] after block metadata[f"yapo.vector.{i}.layer"] (hidden_states[layer + 1]); leave BOS out. Returns the steered h."""
    assert metadata.get(f"yapo.vector.{i}.activation") != "topk", "a TopK vector needs its whole SAE"
    v = {k: tensors[f"v.{i}.{k}"] for k in ("index", "value", "enc", "enc_bias", "threshold", "dec") if f"v.{i}.{k}" in tensors}
    strength = metadata.get(f"yapo.vector.{i}.strength.recommended", 1.0) if strength is None else strength
    if "index" not in v: return h + strength * v["value"]  # dense
    pre = h @ v["enc"].T + v["enc_bias"]
    z = np.maximum(pre, 0) * (pre > v["threshold"])
    return h + np.maximum(strength * v["value"], -z) @ v["dec"]  # never below "off"
