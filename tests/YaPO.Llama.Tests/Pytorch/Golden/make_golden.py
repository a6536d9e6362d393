# Makes the golden files of this folder: python3 make_golden.py [FOLDER] (they were made with PyTorch 1.13.1).
import os, sys
from collections import OrderedDict
import torch
os.chdir(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__)))
a = torch.arange(6, dtype=torch.float32).reshape(2, 3) - 2.5
v = torch.tensor([-2.5, 0.0, 0.375, 3.0])
for name, dtype in (("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16), ("f64", torch.float64)):
    torch.save(v.to(dtype), f"vector_{name}.pt")
torch.save(torch.nn.Parameter(v), "parameter.pt")
torch.save({"W": a, "b": v.to(torch.bfloat16), "k": 50, "name": "größe", "nested": {"t": a.t(), "none": None}, "list": [v, 1.5, True, -3, 2 ** 40], 7: v.double(),
            "dtype": torch.bfloat16, "device": torch.device("cpu"), "size": torch.Size([2, 3])}, "dictionary.pt")
torch.save(OrderedDict(x=a, y=torch.nn.Parameter(v)), "ordered.pt")
torch.manual_seed(1)
torch.save(torch.nn.Linear(3, 2).half().state_dict(), "state_dict.pt")
big = torch.arange(12, dtype=torch.float32)
torch.save([big[4:8], big.reshape(3, 4)[1]], "shared_storage.pt")
torch.save(big.reshape(3, 4)[:, 1], "strided.pt")
torch.save({"n": torch.arange(3), "flag": torch.tensor([True])}, "integers.pt")
torch.save(torch.nn.Linear(3, 2), "module.pt")
torch.save({"f": os.system}, "function.pt")
torch.save(v, "legacy.pt", _use_new_zipfile_serialization=False)
