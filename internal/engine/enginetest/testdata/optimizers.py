"""Makes optimizers.json: what PyTorch's optimizers do to fixed parameters.

    python3 optimizers.py > optimizers.json

There are SIZE parameters, in one vector; parameter i begins at h(0, i), and its
gradient in step t, from 1, is h(t, i), where h is a hash in [-1/2, 1/2) that
float32 holds exactly. Recorded are the parameters after some steps.
"""

import json

import torch

SIZE = 143
RECORDED = [1, 2, 6]


def h(t, i):
    mask = 0xFFFFFFFF
    x = (i * 2654435761 + t * 40503 + 12345) & mask
    x ^= x >> 16
    x = x * 0x45D9F3B & mask
    x ^= x >> 16
    return (x >> 8) / 2**24 - 0.5


def vector(t):
    return torch.tensor([h(t, i) for i in range(SIZE)], dtype=torch.float64)


def run(make, clip):
    p = vector(0).requires_grad_()
    optimizer, steps = make([p]), []
    for t in range(1, max(RECORDED) + 1):
        p.grad = vector(t)
        if clip:
            # The norm plus 1e-6 is in torch's formula; it is noise here.
            torch.nn.utils.clip_grad_norm_([p], clip)
        optimizer.step()
        if t in RECORDED:
            steps.append([float(f"{v:.9g}") for v in p.tolist()])
    return steps


if __name__ == "__main__":
    O = torch.optim
    cases = {
        "sgd": (lambda p: O.SGD(p, lr=0.1), 0),
        "sgd, decay": (lambda p: O.SGD(p, lr=0.1, weight_decay=0.05), 0),
        "sgd, decay, clip": (lambda p: O.SGD(p, lr=0.1, weight_decay=0.05), 0.7),
        "momentum": (lambda p: O.SGD(p, lr=0.1, momentum=0.9), 0),
        "momentum, decay": (lambda p: O.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.05), 0),
        "nesterov, decay": (lambda p: O.SGD(p, lr=0.1, momentum=0.8, weight_decay=0.05, nesterov=True), 0),
        "nesterov, clip": (lambda p: O.SGD(p, lr=0.1, momentum=0.8, nesterov=True), 0.7),
        "adam": (lambda p: O.Adam(p, lr=0.01), 0),
        "adam, decay": (lambda p: O.Adam(p, lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.05), 0),
        "adamw, decay": (lambda p: O.AdamW(p, lr=0.01, weight_decay=0.05), 0),
        "adamw, decay, clip": (lambda p: O.AdamW(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.05), 0.7),
    }
    print(json.dumps({"recorded": RECORDED, "cases": {k: run(*v) for k, v in cases.items()}}, separators=(",", ":")))
