"""What PyTorch does once per process, done before anybody's clock runs.

The first optimizer imports `torch._dynamo` (about 800 modules, 0.9 s of a CPU); the first
backward pass starts threads; the first convolution, recurrent net and matrix product make
handles of their libraries.
"""

import torch
from torch import nn


def warm_up(device: torch.device) -> None:
    """One step of a tiny model with all these layers; leaves the random generators as they were."""
    cuda_devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda_devices):
        convolution = nn.Conv2d(1, 4, 3, padding=1).to(device)
        recurrent = nn.LSTM(4, 4, batch_first=True).to(device)
        dense = nn.Linear(4, 2).to(device)
        layers = nn.ModuleList([convolution, recurrent, dense])
        # Choosing AdamW imports what every optimizer needs, and the fused forms' helpers.
        optimizer = torch.optim.AdamW(layers.parameters())
        image = torch.ones(2, 1, 4, 4, device=device)
        features = convolution(image).flatten(2).transpose(1, 2)  # [2, 16, 4]
        hidden, _ = recurrent(features)
        dense(hidden).square().mean().backward()
        optimizer.step()
        torch.ones(1, device=device).sum().item()
