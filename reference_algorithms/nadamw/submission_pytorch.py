"""NadamW in PyTorch: the published rule, not torch.optim.NAdam's. See README.md."""

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.nadamw_pytorch import NadamW


def nadamw(setup: Setup) -> torch.optim.Optimizer:
    """Our NadamW; the factory's schedule is warm-up and cosine decay to 0."""
    return NadamW(setup.params.parameters(), **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(nadamw)
