"""AdamW in PyTorch: torch.optim's rule is the published one. See README.md."""

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission


def adamw(setup: Setup) -> torch.optim.Optimizer:
    """torch's AdamW; the factory's schedule is warm-up and cosine decay to 0."""
    return torch.optim.AdamW(setup.params.parameters(), fused=True, **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(adamw)
