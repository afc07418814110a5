"""Beam search of the full wmt model: seconds a token step.

    python benchmarks/wmt_decode.py --framework jax
    python benchmarks/wmt_decode.py --framework pytorch --sentences 8

The model is an initial one, whose hypotheses practically never end: every search takes
all 255 steps, through all sizes of the cache (fewer with `--max-length`).
"""

import argparse
import dataclasses
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from measuring import print_yardsticks

from algoperf import backend as backends
from algoperf import registry
from algoperf.workloads.wmt.definition import DEFINITION, ModelConfig
from algoperf.workloads.wmt.rows import Side

SOURCE_TOKENS = 30
SPLITS = DEFINITION.splits
EVALUATED = SPLITS.eval_train + SPLITS.validation + SPLITS.test
# Until the last of a batch's sentences is done, about; the mean sentence has 30 tokens.
TYPICAL_STEPS = 80


def source_tokens(config: ModelConfig, sentences: int) -> np.ndarray:
    """Made-up sources: int32 [sentences, length]."""
    tokens = np.zeros((sentences, config.max_length), np.int32)
    rng = np.random.default_rng(0)
    shape = sentences, SOURCE_TOKENS
    tokens[:, :SOURCE_TOKENS] = rng.integers(3, config.vocab_size, shape)
    return tokens


def jax_search(
    model: Any, config: ModelConfig, params: Any, tokens: np.ndarray
) -> Callable[[], Any]:
    """The compiled search of these sentences, encoder included."""
    import jax

    module = model.build(config)

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


def pytorch_search(
    model: Any, config: ModelConfig, params: Any, tokens: np.ndarray
) -> Callable[[], Any]:
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
    parser.add_argument("--max-length", type=int, default=DEFINITION.model.max_length)
    options = parser.parse_args()
    print_yardsticks()
    config = dataclasses.replace(DEFINITION.model, max_length=options.max_length)
    backend = backends.load(options.framework)
    model = registry.module("workloads", "wmt", f"model_{options.framework}")
    definition = dataclasses.replace(DEFINITION, model=config)
    bound = backend.bind(definition, model, types.ModuleType("no_metrics"))
    params, _ = bound.init(backend.keys(np.array([[0, 1]]))[0])
    make = jax_search if options.framework == "jax" else pytorch_search
    steps = config.beam_rule.last_time
    search = make(model, config, params, source_tokens(config, options.sentences))
    wall, processor = time.perf_counter(), time.process_time()
    search()
    wall = (time.perf_counter() - wall) / steps
    processor = (time.process_time() - processor) / steps
    whole = EVALUATED / options.sentences * TYPICAL_STEPS * processor
    print(
        f"{options.framework}, {options.sentences} sentences, beam {config.beam_size}: "
        f"{wall:.3f} s a token step (mean of {steps}), {processor:.3f} s of processor "
        f"time, {options.sentences / processor:.1f} tokens of the answers in a second of "
        f"it; {EVALUATED:,} sentences in batches of this size, {TYPICAL_STEPS} steps "
        f"each: {whole / 3_600:.1f} h"
    )


if __name__ == "__main__":
    main()
