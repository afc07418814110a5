"""The settings of `jax.config` that could change an evaluation."""

from typing import Any

import jax
from jax._src import core  # which trace is open has no public name

_PRECISION = "jax_default_matmul_precision"
# What a submission may choose for its products: nothing less exact than the harness does.
_AT_LEAST_TF32 = {
    "tensorfloat32",
    "high",
    "highest",
    "float32",
    "TF32_TF32_F32",
    "TF32_TF32_F32_X3",
    "F32_F32_F32",
}
# Messages, debugging aids and derivatives: no result of an evaluation depends on them. Random
# bits (`threefry`) neither, because evaluations draw none.
_HARMLESS = {
    "jax_captured_constants_report_frames",
    "jax_captured_constants_warn_bytes",
    "jax_check_tracer_leaks",
    "jax_compiler_detailed_logging_min_ops",
    "jax_custom_vjp3",
    "jax_debug_key_reuse",
    "jax_debug_log_modules",
    "jax_disable_bwd_checks",
    "jax_explain_cache_misses",
    "jax_high_dynamic_range_gumbel",
    "jax_include_full_tracebacks_in_locations",
    "jax_log_checkpoint_residuals",
    "jax_log_compiles",
    "jax_logging_level",
    "jax_pprint_use_color",
    "jax_remat3",
    "jax_remat_opt_barrier",
    "jax_softmax_custom_jvp",
    "jax_threefry_partitionable",
    "jax_traceback_filtering",
    "jax_traceback_in_locations_limit",
    "jax_tracer_error_num_traceback_frames",
    "jax_use_direct_linearize",
}


def that_change_evaluations() -> dict[str, Any]:
    """Values by name, for `algoperf.backend.Backend.process_settings`."""
    values = {
        name: repr(value)
        for name, value in jax.config.values.items()
        if name not in _HARMLESS
    }
    if jax.config.values[_PRECISION] in _AT_LEAST_TF32:
        values[_PRECISION] = "at least TF32"
    values["trace that is open"] = type(core.trace_ctx.trace).__name__
    return values
