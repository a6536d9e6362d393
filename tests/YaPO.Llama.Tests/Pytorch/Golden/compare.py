# Compares what our reader made of damaged .pt files with what PyTorch makes of them: python3 compare.py FOLDER.
# FOLDER holds N.pt and N.txt: per tensor its name, shape and F32 values in hexadecimal, between separators 1F and 1E. Files that PyTorch refuses are skipped.
import glob, struct, sys, warnings
import torch

warnings.simplefilter("ignore")


def flatten(value, name, result):
    if isinstance(value, torch.Tensor):
        result[name] = value
    elif isinstance(value, dict):
        for k, v in value.items():
            flatten(v, f"{name}.{k}" if name else str(k), result)
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            flatten(v, f"{name}.{i}" if name else str(i), result)
    return result


def describe(t):
    values = t.detach().to(torch.float32).contiguous().flatten().tolist()
    return ",".join(map(str, t.shape)), b"".join(struct.pack("<f", v) for v in values).hex()


same = different = 0
for path in sorted(glob.glob(sys.argv[1] + "/*.pt")):
    ours = {}
    for line in open(path[:-3] + ".txt", encoding="utf-8", newline="\n").read().split("\x1e"):
        if line:
            name, shape, values = line.split("\x1f")
            ours[name] = (shape, values)
    try:
        theirs = flatten(torch.load(path), "", {})
    except Exception:
        continue
    if ours == {k: describe(t) for k, t in theirs.items() if t.is_floating_point()}:
        same += 1
    else:
        different += 1
        print("different:", path, list(ours), list(theirs), file=sys.stderr)
print(same, "the same,", different, "different", file=sys.stderr)
sys.exit(1 if different or same < 20 else 0)
