"""Makes pytorch.json: what PyTorch computes for each variant on fixed weights.

    python3 pytorch.py > pytorch.json

Weights, images and labels come from a hash, so that the file need not hold
them: element i of tensor number t (the parameters in order, then the images)
is (h(t, i) >> 8) / 2^24, which float32 holds exactly; a parameter is that
minus one half, times a power of two, "scale" in the file. The absent kernels
of lecun98 are zero. Of gradients with more than 256 elements, every "stride"-th
is recorded, and the norm of the whole.
"""

import json
import math

import torch
import torch.nn.functional as F

BATCH = 3


def h(t, i):
    mask = 0xFFFFFFFF
    x = (i * 2654435761 + t * 40503 + 12345) & mask
    x ^= x >> 16
    x = x * 0x45D9F3B & mask
    x ^= x >> 16
    return x


def fraction(t, n):
    return torch.tensor([(h(t, i) >> 8) / 2**24 for i in range(n)], dtype=torch.float64)


def squash(x):
    return 1.7159 * torch.tanh(2 * x / 3)


TABLE = """XXX... .XXX.. ..XXX. ...XXX X...XX XX...X XXXX.. .XXXX.
..XXXX X..XXX XX..XX XXX..X XX.XX. .XX.XX X.XX.X XXXXXX""".split()


def sigmoid(x, w):
    x = F.avg_pool2d(torch.sigmoid(F.conv2d(x, w[0], w[1], padding=2)), 2)
    x = F.avg_pool2d(torch.sigmoid(F.conv2d(x, w[2], w[3])), 2).flatten(1)
    x = torch.sigmoid(F.linear(x, w[4], w[5]))
    return F.linear(torch.sigmoid(F.linear(x, w[6], w[7])), w[8], w[9])


def relu(x, w):
    x = F.relu(F.max_pool2d(F.conv2d(x, w[0], w[1]), 2))
    x = F.relu(F.max_pool2d(F.conv2d(x, w[2], w[3]), 2)).flatten(1)
    return F.linear(F.relu(F.linear(F.relu(F.linear(x, w[4], w[5])), w[6], w[7])), w[8], w[9])


def modern(x, w):
    x = F.max_pool2d(F.relu(F.conv2d(x, w[0], w[1], padding=2)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, w[2], w[3])), 2).flatten(1)
    return F.linear(F.relu(F.linear(F.relu(F.linear(x, w[4], w[5])), w[6], w[7])), w[8], w[9])


def lecun98(x, w, codes):
    def subsample(x, coefficient, bias):
        x = 4 * F.avg_pool2d(x, 2)
        return squash(x * coefficient.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1))

    x = subsample(squash(F.conv2d(x, w[0], w[1])), w[2], w[3])
    x = subsample(squash(F.conv2d(x, w[4], w[5])), w[6], w[7])
    x = squash(F.conv2d(x, w[8], w[9])).flatten(1)
    x = squash(F.linear(x, w[10], w[11]))
    return -((x.unsqueeze(1) - codes) ** 2).sum(2)


CLASSIC = [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,)]
SMALL = [(6, 1, 3, 3), (6,), (16, 6, 3, 3)] + CLASSIC[3:]
ORIGINAL = [(6, 1, 5, 5), (6,), (6,), (6,), (16, 6, 5, 5), (16,), (16,), (16,), (120, 16, 5, 5), (120,), (84, 120), (84,)]


def record(name, shapes):
    scales, params = [], []
    for t, shape in enumerate(shapes):
        fan = math.prod(shape[1:])
        # Biases and the coefficients of subsampling are about a quarter.
        scale = 2.0 ** -1 if fan == 1 else 2.0 ** math.floor(math.log2(4 / math.sqrt(fan)))
        w = ((fraction(t, math.prod(shape)) - 0.5) * scale).reshape(shape)
        if name == "lecun98" and shape == (16, 6, 5, 5):
            for m, row in enumerate(TABLE):
                for c, mark in enumerate(row):
                    if mark == ".":
                        w[m, c] = 0
        scales.append(scale)
        params.append(w.requires_grad_())
    pixels = torch.floor(fraction(len(shapes), BATCH * 784) * 256).reshape(BATCH, 1, 28, 28)
    labels = torch.tensor([(7 * i + 3) % 10 for i in range(BATCH)])
    if name == "lecun98":
        with open("../codes.txt") as f:  # the bitmaps, a digit after the other
            ink = [c for c in f.read() if c in "#."]
        codes = torch.tensor([1.0 if c == "#" else -1.0 for c in ink], dtype=torch.float64).reshape(10, 84)
        logits = lecun98(F.pad(pixels, (2, 2, 2, 2)) * 1.275 / 255 - 0.1, params, codes)
        # The MAP criterion, equation 9, with j = 20.
        rubbish = torch.full((BATCH, 1), -20.0, dtype=torch.float64)
        total = torch.logsumexp(torch.cat([logits, rubbish], 1), 1)
        loss = (total - logits[range(BATCH), labels]).mean()
    else:
        x = pixels * 2 / 255 - 1 if name == "relu" else pixels / 255
        logits = {"sigmoid": sigmoid, "relu": relu, "modern": modern}[name](x, params)
        loss = F.cross_entropy(logits, labels)
    loss.backward()
    grads = []
    for p in params:
        g = p.grad
        if name == "lecun98" and tuple(p.shape) == (16, 6, 5, 5):
            g = g * torch.tensor([[mark == "X" for mark in row] for row in TABLE]).view(16, 6, 1, 1)
        g = g.flatten()
        stride = 1 if len(g) <= 256 else len(g) // 256 | 1
        grads.append({"stride": stride, "norm": float(g.norm()), "values": [float(f"{v:.9g}") for v in g[::stride].tolist()]})
    return {"variant": name, "scales": scales, "labels": labels.tolist(), "logits": logits.flatten().tolist(),
            "probabilities": torch.softmax(logits, 1).flatten().tolist(), "loss": float(loss), "gradients": grads}


if __name__ == "__main__":
    print(json.dumps({
        "made by": f"PyTorch {torch.__version__}, in float64",
        "variants": [record(*v) for v in [("sigmoid", CLASSIC), ("relu", SMALL), ("modern", CLASSIC), ("lecun98", ORIGINAL)]],
    }, indent=None, separators=(",", ":")))
