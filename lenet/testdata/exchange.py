"""Exchanges weights with PyTorch, both ways, without the library safetensors:

    exchange.py model.safetensors images.bin outputs.bin new.safetensors new.bin

loads model.safetensors (the variant sigmoid) into an nn.Sequential, and writes its logits for the images to outputs.bin;
then saves one with weights of its own, under the names of its state_dict, and its logits for the same images to new.bin.
With the library, the first is

    from safetensors.torch import load_file
    net.load_state_dict(dict(zip(net.state_dict(), (load_file("model.safetensors")[k] for k in names))))
"""
import json, struct, sys
import numpy as np, torch
from torch import nn

names = [f"{layer}.{kind}" for layer in ("conv1", "conv2", "fc1", "fc2", "fc3") for kind in ("weight", "bias")]


def load_file(path):
    raw = open(path, "rb").read()
    (size,) = struct.unpack("<Q", raw[:8])
    head, body = json.loads(raw[8:8 + size]), raw[8 + size:]
    head.pop("__metadata__", None)
    return {k: torch.from_numpy(np.frombuffer(body[slice(*t["data_offsets"])], "<f4").reshape(t["shape"]).copy()) for k, t in head.items()}


def save_file(tensors, path):
    head, at, body = {}, 0, b""
    for k, t in tensors.items():
        b = t.detach().numpy().astype("<f4").tobytes()
        head[k] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + len(b)]}
        at, body = at + len(b), body + b
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)


def sequential():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10))


model, images, outputs, new, new_outputs = sys.argv[1:]
x = torch.from_numpy(np.fromfile(images, np.uint8).reshape(-1, 1, 28, 28)).float() / 255
net = sequential()
weights = load_file(model)
net.load_state_dict(dict(zip(net.state_dict(), (weights[k] for k in names))))
net(x).detach().numpy().astype("<f4").tofile(outputs)
torch.manual_seed(1)
net = sequential()
save_file(net.state_dict(), new)
net(x).detach().numpy().astype("<f4").tofile(new_outputs)
