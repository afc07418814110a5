"""Beam search of the full wmt model: seconds a token step.

    python benchmarks/wmt_decode.py --framework jax
    python benchmarks/wmt_decode.py --framework pytorch --sentences 8

The model is an initial one, whose hypotheses practically never end: every search takes
all 255 steps, through all sizes of the cache.
"""

import argparse
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from algoperf import backend as backends
from algoperf import registry
from algoperf.workloads.wmt.definition import DEFINITION
from algoperf.workloads.wmt.rows import Side

CONFIG = DEFINITION.model
STEPS = CONFIG.beam_rule.last_time
SOURCE_TOKENS = 30
SPLITS = DEFINITION.splits
EVALUATED = SPLITS.eval_train + SPLITS.validation + SPLITS.test
# Until the last of a batch's sentences is done, about; the mean sentence has 30 tokens.
TYPICAL_STEPS = 80


def yardsticks() -> str:
    """What this machine does elsewhere: matrix products, and copying."""
    a = np.ones((2_048, 2_048), np.float32)
    b = np.ones(2**26, np.float32)
    multiplied, copied = seconds(lambda: a @ a), seconds(lambda: b.copy())
    return (
        f"beside it: matrix product {2 * 2_048**3 / multiplied / 1e9:.0f} GFLOP/s, "
        f"copy {b.nbytes / copied / 1e9:.1f} GB/s"
    )


def seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    """The shortest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def source_tokens(sentences: int) -> np.ndarray:
    """Made-up sources: int32 [sentences, length]."""
    tokens = np.zeros((sentences, CONFIG.max_length), np.int32)
    rng = np.random.default_rng(0)
    shape = sentences, SOURCE_TOKENS
    tokens[:, :SOURCE_TOKENS] = rng.integers(3, CONFIG.vocab_size, shape)
    return tokens


def jax_search(model: Any, params: Any, tokens: np.ndarray) -> Callable[[], Any]:
    """The compiled search of these sentences, encoder included."""
    import jax

    module = model.build(CONFIG)

    def search(params: Any, tokens: Any) -> Any:
        variables, source = {"params": params}, Side(tokens)
        encoded = module.apply(variables, source, 0.0, train=False, method="encode")
        memory = module.apply(variables, encoded, method="memory_of")
        is_padding = jax.numpy.zeros(len(tokens), bool)
        return model.translate(module, variables, memory, source, is_padding)

    start = time.perf_counter()
    compiled = jax.jit(search).lower(params, tokens).compile()
    print(f"compiled in {time.perf_counter() - start:.1f} s")
    return lambda: jax.block_until_ready(compiled(params, tokens))


def pytorch_search(model: Any, params: Any, tokens: np.ndarray) -> Callable[[], Any]:
    """The eager search of these sentences, encoder included."""
    import torch

    from algoperf.workloads.wmt.transformer_pytorch import Source, as_bias

    rows = Side(torch.tensor(tokens))

    def search() -> None:
        with torch.no_grad():
            memory = params.memory_of(params.encode(rows))
            bias = as_bias((rows.tokens > 0)[:, None])
            is_padding = torch.zeros(len(tokens), dtype=torch.bool)
            model.translate(params.eval(), Source(memory, bias), is_padding)

    return search


def main() -> None:
    """Prints the time of a token step, and what it makes of a full evaluation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=["jax", "pytorch"], default="jax")
    parser.add_argument("--sentences", type=int, default=8)
    options = parser.parse_args()
    backend = backends.load(options.framework)
    model = registry.module("workloads", "wmt", f"model_{options.framework}")
    bound = backend.bind(DEFINITION, model, types.ModuleType("no_metrics"))
    params, _ = bound.init(backend.keys(np.array([[0, 1]]))[0])
    make = jax_search if options.framework == "jax" else pytorch_search
    step = seconds(make(model, params, source_tokens(options.sentences)), 1) / STEPS
    whole = EVALUATED / options.sentences * TYPICAL_STEPS * step
    print(
        f"{options.framework}, {options.sentences} sentences, beam {CONFIG.beam_size}: "
        f"{step:.3f} s a token step (mean of {STEPS}), {options.sentences / step:.1f} "
        f"tokens/s of the answers; {EVALUATED:,} sentences in batches of this size, "
        f"{TYPICAL_STEPS} steps each: {whole / 3_600:.2f} h; {yardsticks()}"
    )


if __name__ == "__main__":
    main()
