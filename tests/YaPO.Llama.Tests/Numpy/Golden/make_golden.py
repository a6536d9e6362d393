# Makes the golden files of this folder: python3 make_golden.py (they were made with NumPy 1.24.2).
import os, zipfile
import numpy as np
out = os.path.dirname(os.path.abspath(__file__))
os.chdir(out)
a = (np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5)
np.save("f4_c.npy", a)
np.save("f2_f.npy", np.asfortranarray(a.astype(np.float16)))
np.save("f8_1d.npy", np.array([0.1, -1e300, 3.0]))
np.save("object.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
np.save("int.npy", np.arange(3))
np.save("big_endian.npy", a.astype(">f4"))
np.save("structured.npy", np.zeros(2, dtype=[("x", "<f4"), ("y", "<f4")]))
np.savez("stored.npz", first=a, second=np.array([7.0, 8.0], dtype=np.float32))
np.savez_compressed("deflate.npz", first=np.asfortranarray(a), second=np.zeros(5000, dtype=np.float64))
d, f = 8, 24
r = np.random.default_rng(7)
sae = dict(W_enc=r.normal(size=(d, f)), W_dec=r.normal(size=(f, d)), b_enc=r.normal(size=f), b_dec=r.normal(size=d), threshold=r.uniform(0.1, 1, size=f))
sae = {k: v.astype(np.float32) for k, v in sae.items()}
np.savez("sae.npz", **sae)
np.savez_compressed("sae_deflate.npz", **{k: np.asfortranarray(v) for k, v in sae.items()})
h = r.normal(size=(5, d)).astype(np.float32)
pre = h.astype(np.float64) @ sae["W_enc"] + sae["b_enc"]
z = np.maximum(pre, 0) * (pre > sae["threshold"])
rec = z @ sae["W_dec"] + sae["b_dec"]
np.savez("sae_codes.npz", h=h, z=z, reconstruction=rec)
zipfile.ZIP64_LIMIT = 16  # makes Python write the 64-bit directory that files beyond 4 GiB have
np.savez("zip64.npz", first=a, second=np.array([7.0, 8.0], dtype=np.float32))
