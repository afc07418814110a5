"""Environment variables: which a trial starts with, and which a submission must leave alone."""

import os
from collections.abc import Mapping

from algoperf.frameworks import check_framework

# Libraries read these late, when they could change what the harness computes, finds or starts.
_PROTECTED = {
    "ATEN_CPU_CAPABILITY",
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "HOME",
    "LD_PRELOAD",
    "LIBTPU_INIT_ARGS",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "RANK",
    "ROCR_VISIBLE_DEVICES",
    "TMPDIR",
    "WORLD_SIZE",
    "XLA_FLAGS",
}
_PROTECTED_PREFIXES = ("ALGOPERF_", "DNNL_", "ONEDNN_")
# Frameworks set these themselves where nobody has; what the harness has set stays: programs that
# are compiled in one trial must not be found by the next.
_CACHES = {
    "CUDA_CACHE_PATH",
    "JAX_COMPILATION_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR",
    "TRITON_HOME",
    "XDG_CACHE_HOME",
}


def for_trial(framework: str) -> Mapping[str, str]:
    """Variables that a trial's process starts with unless the user has set them."""
    return check_framework(framework).restrains_others


def changed_since(before: Mapping[str, str]) -> list[str]:
    """Names of variables that a submission must not change and that differ now, sorted."""
    return sorted(
        name
        for name in set(before) | set(os.environ)
        if before.get(name) != os.environ.get(name)
        and (is_protected(name) or (name in _CACHES and name in before))
    )


def is_protected(name: str) -> bool:
    """Whether a submission must leave a variable alone, whatever its value is."""
    return name in _PROTECTED or name.startswith(_PROTECTED_PREFIXES)
