"""Nesterov momentum in PyTorch. See README.md."""

from algoperf.reference_algorithms._shared.momentum_pytorch import momentum

get_batch_size, init_optimizer_state, update_params, data_selection = momentum(
    nesterov=True
)
