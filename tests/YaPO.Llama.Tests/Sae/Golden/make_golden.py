# Makes small SAEs in published formats, and what each format's original arithmetic makes of some rows:
# python3 make_golden.py [FOLDER] [SEED]. The committed ones were made with NumPy 1.24.2, PyTorch 1.13.1 and seed 7.
# safetensors files are written by hand here (the format is a length, a JSON header and the bytes), .pt files by torch.save.
import json, os, struct, sys
import numpy as np
import torch

out = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 7)
D, F, K = 8, 24, 5


def normal(*shape, scale=1.0):
    return torch.tensor(rng.normal(size=shape) * scale).to(torch.bfloat16)  # the same number in every type


def safetensors(path, tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}
    for name, t in tensors.items():
        t = t.contiguous()
        raw = (t.view(torch.int16) if t.dtype == torch.bfloat16 else t).numpy().tobytes()
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def folder(name, config=None, config_name="cfg.json"):
    path = os.path.join(out, name)
    os.makedirs(path, exist_ok=True)
    if config is not None:
        with open(os.path.join(path, config_name), "w") as f:
            json.dump(config, f)
    return path


def codes(path, x, z, reconstruction):
    np.savez(os.path.join(path, "codes.npz"), h=x.numpy().astype(np.float32), z=z.numpy().astype(np.float32), reconstruction=reconstruction.numpy().astype(np.float32))


def topk(h, k):
    values, indices = torch.topk(h, k, dim=-1)
    return torch.zeros_like(h).scatter_(-1, indices, torch.relu(values))


x = normal(12, D).double()
W, Wd = normal(D, F), normal(F, D)
b, bd, bgate, rmag, threshold = normal(F), normal(D), normal(F), normal(F, scale=0.5), normal(F).abs()
w, wd, be, bo = W.double(), Wd.double(), b.double(), bd.double()

# Qwen-Scope: raw top-k, no centring; negative ones among the k largest are relu'd as the run-time form does.
p = folder("SAE-Res-Qwen3-2B-W1K-L0_%d" % K)
torch.save({"W_enc": W.t().contiguous(), "W_dec": Wd.t().contiguous(), "b_enc": b, "b_dec": bd}, os.path.join(p, "layer3.sae.pt"))
z = topk(x @ w + be, K)
codes(p, x, z, z @ wd + bo)

# SAELens gated, centred.
p = folder("saelens-gated", {"architecture": "gated", "d_in": D, "d_sae": F, "dtype": "float32", "apply_b_dec_to_input": True, "normalize_activations": "none",
                             "metadata": {"hook_name": "blocks.3.hook_resid_post", "model_name": "m", "sae_lens_version": "6.0.0"}})
safetensors(os.path.join(p, "sae_weights.safetensors"), {"W_enc": W.float(), "W_dec": Wd.float(), "b_gate": bgate.float(), "b_mag": b.float(), "r_mag": rmag.float(), "b_dec": bd.float()})
u = (x - bo) @ w
z = (u + bgate.double() > 0).double() * torch.relu((x - bo) @ (w * rmag.double().exp()) + be)
codes(p, x, z, z @ wd + bo)

# SAELens topk with activations in units of the decoder's norms: they are undone in decode.
p = folder("saelens-topk", {"architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": True, "apply_b_dec_to_input": True, "metadata": {"hook_name": "blocks.4.hook_resid_pre"}})
safetensors(os.path.join(p, "sae_weights.safetensors"), {"W_enc": W, "W_dec": Wd, "b_enc": b, "b_dec": bd}, {"format": "pt"})
n = wd.norm(dim=-1)
z = topk(((x - bo) @ w + be) * n, K)
codes(p, x, z, (z / n) @ wd + bo)

# sparsify: relu, then top-k.
p = folder("layers.3", {"activation": "topk", "expansion_factor": 3, "normalize_decoder": True, "num_latents": 0, "k": K, "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D})
safetensors(os.path.join(p, "sae.safetensors"), {"b_dec": bd, "encoder.bias": b, "encoder.weight": W.t(), "W_dec": Wd})
z = topk(torch.relu((x - bo) @ w + be), K)
codes(p, x, z, z @ wd + bo)

# Llama Scope in its load order: mean norms, then unit decoder rows, then the one threshold.
p = folder("llama-scope", {"hook_point_in": "blocks.3.hook_resid_post", "hook_point_out": "blocks.3.hook_resid_post", "use_decoder_bias": True, "apply_decoder_bias_to_pre_encoder": False,
                           "d_model": D, "d_sae": F, "act_fn": "jumprelu", "jump_relu_threshold": 1.5, "top_k": 50, "norm_activation": "dataset-wise",
                           "dataset_average_activation_norm": {"in": 2.5, "out": 5.5}, "sparsity_include_decoder_norm": True}, "hyperparams.json")
os.makedirs(os.path.join(p, "checkpoints"), exist_ok=True)
safetensors(os.path.join(p, "checkpoints", "final.safetensors"), {"encoder.weight": W.t(), "encoder.bias": b, "decoder.weight": Wd.t(), "decoder.bias": bd})
s_in, s_out = D ** 0.5 / 2.5, D ** 0.5 / 5.5
enc, dec = torch.nn.Linear(D, F).double(), torch.nn.Linear(F, D).double()
with torch.no_grad():
    enc.weight.copy_(w.t()); enc.bias.copy_(be / s_in); dec.weight.copy_(wd.t() * s_in / s_out); dec.bias.copy_(bo / s_out)
    norm = dec.weight.norm(dim=0)
    dec.weight /= norm; enc.weight *= norm[:, None]; enc.bias *= norm
    h = enc(x)
    z = h * (h > 1.5)
    codes(p, x, z, dec(z))

# OpenMOSS: act(h * n) / n, log thresholds, the mean norm as a tensor.
p = folder("openmoss", {"sae_type": "sae", "hook_point_in": "blocks.3.hook_resid_post", "hook_point_out": "blocks.3.hook_resid_post", "act_fn": "jumprelu", "norm_activation": "dataset-wise",
                        "sparsity_include_decoder_norm": True, "use_decoder_bias": True}, "config.json")
safetensors(os.path.join(p, "sae_weights.safetensors"), {"W_E": W.float(), "b_E": b.float(), "W_D": Wd.float(), "b_D": bd.float(), "activation_function.log_jumprelu_threshold": rmag.float(),
                                                         "dataset_average_activation_norm.blocks.3.hook_resid_post": torch.tensor(2.5)})
h = (x @ w + be / s_in) * n
z = h * (h > rmag.double().exp())
codes(p, x, z, (z / n) @ wd + bo / s_in)

# Gemma Scope 2.
p = folder("gemma-scope-2", {"hf_hook_point_in": "model.layers.3.output", "hf_hook_point_out": "model.layers.3.output", "width": F, "model_name": "google/gemma-3-1b-pt", "architecture": "jump_relu",
                             "l0": 4, "affine_connection": False, "type": "sae"}, "config.json")
safetensors(os.path.join(p, "params.safetensors"), {"w_enc": W.float(), "w_dec": Wd.float(), "b_enc": b.float(), "b_dec": bd.float(), "threshold": threshold.float()})
h = x @ w + be
z = torch.relu(h) * (h > threshold.double())
codes(p, x, z, z @ wd + bo)
