"""Makes schedules.json: the learning rates of PyTorch's schedules, for 1.0.

    python3 schedules.py > schedules.json
"""

import json

import torch
from torch.optim import lr_scheduler as S

STEPS, PER_EPOCH = 60, 10


def rates(make):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    s, out = make(optimizer), []
    for _ in range(STEPS):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(out) < STEPS:
            s.step()
    return out


LOSSES = [2.0, 1.5, 1.4, 1.41, 1.39999, 1.4, 1.2, 1.3, 1.3, 1.2, 1.1999, 1.25, 1.25, 1.3, 1.1, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2]


def plateau(**settings):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    s, out = S.ReduceLROnPlateau(optimizer, **settings), []
    for loss in LOSSES:
        s.step(loss)
        out.append(optimizer.param_groups[0]["lr"])
    return out


if __name__ == "__main__":
    print(json.dumps({
        "step": rates(lambda o: S.StepLR(o, step_size=2 * PER_EPOCH, gamma=0.1)),
        "cosine": rates(lambda o: S.CosineAnnealingLR(o, T_max=STEPS)),
        "cosine, floor": rates(lambda o: S.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.1)),
        "onecycle": rates(lambda o: S.OneCycleLR(o, max_lr=1.0, total_steps=STEPS, cycle_momentum=False)),
        "onecycle, changed": rates(lambda o: S.OneCycleLR(o, max_lr=1.0, total_steps=STEPS, pct_start=0.2, div_factor=10, final_div_factor=100, cycle_momentum=False)),
        "losses": LOSSES,
        "plateau": plateau(patience=2),
        "plateau, changed": plateau(patience=1, factor=0.5, threshold=0.1),
    }, separators=(",", ":")))
