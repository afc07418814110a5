"""Time from process start to the end of step 1: `algoperf run` against a bare script.

`python benchmarks/startup.py jax|pytorch [--rounds 3]`

The bare script imports the framework, reads the same prepared data, and takes one step of the same
perceptron with the framework's own AdamW. Both stamp the clock when the step's result is there.
Also printed: the submission time that the trial was charged until its first evaluation.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from algoperf import cli, logs, registry

STAMP = "ALGOPERF_BENCHMARK_STAMP"  # environment variable: file that takes the time

WRAPPED = '''
"""The reference NadamW, which stamps the time at the end of its first step."""
import os, time
from algoperf.reference_algorithms.nadamw.submission_{framework} import (
    data_selection, get_batch_size, init_optimizer_state)
from algoperf.reference_algorithms.nadamw import submission_{framework} as nadamw

def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results,
                  global_step, rng):
    result = nadamw.update_params(
        workload, current_param_container, current_params_types, model_state,
        hyperparameters, batch, loss_type, optimizer_state, eval_results, global_step, rng)
    if "{framework}" == "jax":
        import jax
        jax.block_until_ready(result[1])
    open(os.environ["{stamp}"], "w").write(repr(time.time()))
    return result
'''

BARE_JAX = """
import os, sys, time
import numpy as np
import jax, jax.numpy as jnp, optax
from flax import linen as nn

images = np.load(sys.argv[1] + "/train-images.npy")[:128].astype(np.float32)
labels = np.load(sys.argv[1] + "/train-labels.npy")[:128].astype(np.int32)
images = ((images - 0.1307) / 0.3081).reshape(128, -1)
model = nn.Sequential([nn.Dense(128), nn.sigmoid, nn.Dense(10)])
params = jax.jit(model.init)(jax.random.PRNGKey(0), images)
optimizer = optax.adamw(1e-3)
state = jax.jit(optimizer.init)(params)

@jax.jit
def step(params, state, images, labels):
    def loss(params):
        logits = model.apply(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    grads = jax.grad(loss)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state

jax.block_until_ready(step(params, state, images, labels))
open(os.environ["{stamp}"], "w").write(repr(time.time()))
"""

BARE_PYTORCH = """
import os, sys, time
import numpy as np
import torch
from torch import nn

images = np.load(sys.argv[1] + "/train-images.npy")[:128].astype(np.float32)
labels = np.load(sys.argv[1] + "/train-labels.npy")[:128].astype(np.int64)
images = torch.from_numpy(((images - 0.1307) / 0.3081).reshape(128, -1))
model = nn.Sequential(nn.Linear(784, 128), nn.Sigmoid(), nn.Linear(128, 10))
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
nn.functional.cross_entropy(model(images), torch.from_numpy(labels)).backward()
optimizer.step()
open(os.environ["{stamp}"], "w").write(repr(time.time()))
"""


def seconds_to_stamp(command: list[str], folder: Path) -> float:
    """Seconds from starting the command until it stamps the time."""
    stamp = folder / "stamp"
    stamp.unlink(missing_ok=True)
    start = time.time()
    subprocess.run(
        command, env={**os.environ, STAMP: str(stamp)}, check=True, capture_output=True
    )
    return float(stamp.read_text()) - start


def main() -> None:
    """Prints the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("framework", choices=["jax", "pytorch"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    framework = options.framework
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cli.main(["prepare", "mnist_mini", "--data-dir", name])
        submission = folder / "submission.py"
        submission.write_text(WRAPPED.format(framework=framework, stamp=STAMP))
        bare = BARE_JAX if framework == "jax" else BARE_PYTORCH
        (folder / "bare.py").write_text(bare.replace("{stamp}", STAMP))
        space = (
            registry.wing_folder("reference_algorithms")
            / "nadamw/tuning_search_space.json"
        )
        run = [
            sys.executable,
            "-m",
            "algoperf.cli",
            "run",
            str(submission),
            "--overwrite",
        ]
        run += [
            "--framework",
            framework,
            "--workload",
            "mnist_mini",
            "--max-steps",
            "1",
        ]
        run += ["--trials", "1", "--studies", "1", "--data-dir", name]
        run += ["--search-space", str(space), "--experiment-dir", str(folder / "logs")]
        script = [sys.executable, str(folder / "bare.py"), str(folder / "mnist_mini")]
        ours, theirs, charged = [], [], []
        for _ in range(options.rounds):
            theirs.append(seconds_to_stamp(script, folder))
            ours.append(seconds_to_stamp(run, folder))
            (trial,) = logs.read(folder / "logs")
            charged.append(float(trial.columns[logs.SUBMISSION_SECONDS][0]))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        f"{framework}: algoperf run {statistics.median(ours):.2f} s, bare script "
        f"{statistics.median(theirs):.2f} s to the end of step 1, ratio {ratio:.2f}; "
        f"charged until the first evaluation: {statistics.median(charged):.2f} s"
    )


if __name__ == "__main__":
    main()
