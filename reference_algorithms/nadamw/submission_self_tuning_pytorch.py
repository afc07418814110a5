"""Self-tuning NadamW in PyTorch: one point for all workloads. See README.md."""

from algoperf.reference_algorithms._shared.factory_pytorch import submission
from algoperf.reference_algorithms.nadamw import self_tuning, submission_pytorch

get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    submission_pytorch.nadamw, point=self_tuning.point
)
