"""MARS-AdamW in PyTorch, which has none. See README.md."""

from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)


class MarsAdamW(ForeachOptimizer):
    """AdamW on corrected gradients; settings `betas`, `eps`, `weight_decay`, `gamma`.

    Only gradients of rank 2 and above are corrected.
    """

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        matrices = [i for i, grad in enumerate(grads) if grad.ndim >= 2]
        if matrices:
            corrected = self._corrected(
                group, [params[i] for i in matrices], [grads[i] for i in matrices]
            )
            grads = list(grads)
            for i, grad in zip(matrices, corrected, strict=True):
                grads[i] = grad
        first, second = self._adam_moments(params, grads, beta1, beta2)
        self._move_by_adam(group, params, first, second)

    def _corrected(
        self, group: dict[str, Any], params: Tensors, grads: Tensors
    ) -> Tensors:
        """Gradients plus a part of their change since the last update, of norm <= 1."""
        beta1, _ = group["betas"]
        last = self._buffers("last_gradient", params)
        if group["num_updates"] == 1:
            torch._foreach_copy_(last, grads)
        corrected = list(torch._foreach_sub(grads, last))
        torch._foreach_mul_(corrected, group["gamma"] * beta1 / (1.0 - beta1))
        torch._foreach_add_(corrected, grads)
        norms = torch.stack(torch._foreach_norm(corrected)).clamp(min=1.0)
        torch._foreach_div_(corrected, list(norms.unbind()))
        torch._foreach_copy_(last, grads)
        return corrected


def mars_adamw(setup: Setup) -> torch.optim.Optimizer:
    """AdamW on corrected gradients; warm-up and cosine decay to 0."""
    return MarsAdamW(setup.params.parameters(), gamma=setup.point.gamma, **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    mars_adamw
)
