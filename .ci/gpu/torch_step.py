"""Times a training step of the textbook LeNet in PyTorch on a GPU, the data set
on the device: as it comes, as a captured CUDA graph, and compiled. float32
throughout. Medians of blocks of steps."""
import statistics
import time

import torch
from torch import nn

torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.benchmark = True
device = "cuda"
images = torch.randint(0, 256, (60000, 1, 28, 28), dtype=torch.uint8, device=device)
labels = torch.randint(0, 10, (60000,), device=device)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10),
    ).to(device)


def median(step, batch):
    for _ in range(20):
        step()
    times = []
    for _ in range(15):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(50):
            step()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / 50)
    t = statistics.median(times)
    return f"{t * 1e6:8.1f} us a step, {batch / t:12.0f} examples/s"


for batch in (256, 1024, 4096):
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    criterion = nn.CrossEntropyLoss()
    index = torch.randperm(60000, device=device)[:batch]

    def forward_loss(index):
        x = images[index].float() / 255
        return criterion(net(x), labels[index])

    def eager():
        optimizer.zero_grad(set_to_none=True)
        forward_loss(index).backward()
        optimizer.step()

    print(f"batch {batch:4d}, eager:         {median(eager, batch)}", flush=True)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            eager()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        forward_loss(index).backward()
        optimizer.step()
    print(f"batch {batch:4d}, CUDA graph:    {median(graph.replay, batch)}", flush=True)

    for mode in ("default", "reduce-overhead", "max-autotune"):
        try:
            compiled = torch.compile(forward_loss, mode=mode)

            def step():
                optimizer.zero_grad(set_to_none=True)
                compiled(index).backward()
                optimizer.step()

            print(f"batch {batch:4d}, compiled, {mode}: {median(step, batch)}", flush=True)
        except Exception as e:  # a mode that this version cannot do
            print(f"batch {batch:4d}, compiled, {mode}: {type(e).__name__}: {e}")
