"""What the published harness records about a trial: `meta_data_<n>.json` and `flags_<n>.json`.

Its keys are flat (`workload.step_hint`, `gpu_model_name`). Everything may be missing or of another
type than expected; such a fact is not recorded.
"""

import math
from collections.abc import Mapping
from typing import Any

from algoperf.logs import Trial

_WORKLOAD = "workload."
_VERSIONS = {"python": "python_version", "os": "os_platform", "driver": "gpu_driver"}


def target_record(trial: Trial) -> Mapping[str, Any] | None:
    """`metric`, `validation`, `test` (None: the workload has none); None: no record."""
    metric = trial.meta.others.get(f"{_WORKLOAD}target_metric_name")
    validation = _finite(trial.meta.others.get(f"{_WORKLOAD}validation_target_value"))
    if not isinstance(metric, str) or math.isnan(validation):
        return None
    test = _finite(trial.meta.others.get(f"{_WORKLOAD}test_target_value"))
    return {
        "metric": metric,
        "validation": validation,
        "test": None if math.isnan(test) else test,
    }


def budget_seconds(trial: Trial) -> float:
    """The recorded budget, that of external tuning; NaN without a record."""
    return _finite(trial.meta.others.get(f"{_WORKLOAD}max_allowed_runtime_sec"))


def hardware(trial: Trial) -> str | None:
    """What the trial ran on; None without a record."""
    meta, words = trial.meta.others, []
    count = meta.get("gpu_count", meta.get("gpu.count"))
    if count or meta.get("gpu_model_name"):
        words.append(f"{count} x {meta.get('gpu_model_name', 'unknown GPU')}")
    if meta.get("cpu_model_name"):
        words.append(f"{meta['cpu_model_name']} ({meta.get('cpu_count')} cores)")
    return " on ".join(words) or None


def versions(trial: Trial) -> dict[str, str]:
    """Versions by name."""
    found = {name: trial.meta.others.get(key) for name, key in _VERSIONS.items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def commit(trial: Trial) -> str | None:
    """The harness's commit."""
    found = trial.meta.others.get("git_commit_hash")
    return None if found is None else str(found)


def _finite(value: Any) -> float:
    """NaN for what is no finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number and math.isfinite(value) else math.nan
    except OverflowError:  # an integer beyond all floats
        return math.nan
