"""What `gpu.py` runs in processes of their own: each prints one line of JSON.

python benchmarks/gpu_jobs.py rates jax|pytorch       # of products of matrices
python benchmarks/gpu_jobs.py charging jax|pytorch    # who waits for asynchronous work
python benchmarks/gpu_jobs.py copies jax|pytorch      # batches beside computation
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from algoperf import backend as backends
from algoperf.backend import Backend

Work = Callable[[], Any]  # enqueues work on the device, and returns its result
SIDES = {"gpu": 8_192, "cpu": 512}  # of square matrices
BATCH_BYTES = {"gpu": 256_000_000, "cpu": 4_000_000}
PRODUCTS = {"gpu": 40, "cpu": 4}  # one after the other


def platform_of(backend: Backend) -> str:
    """`gpu` or `cpu`."""
    return "gpu" if backend.describe_devices()["platform"] == "gpu" else "cpu"


def products(framework: str, side: int, number: int, dtype: str) -> Work:
    """A chain of products of square matrices."""
    values = np.full((side, side), 1.0 / side, np.float32)
    if framework == "jax":
        import jax
        import jax.numpy as jnp

        matrix = jnp.asarray(values, dtype)

        @jax.jit
        def chain(x: Any) -> Any:
            return jax.lax.fori_loop(0, number, lambda _, y: y @ x, x)

        return lambda: chain(matrix)
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tensor = torch.tensor(values, dtype=getattr(torch, dtype), device=device)

    def work() -> Any:
        y = tensor
        for _ in range(number):
            y = y @ tensor
        return y

    return work


def awaited(backend: Backend, work: Work) -> float:
    """Seconds of work until its result is there."""
    start = time.perf_counter()
    backend.synchronize(work())
    return time.perf_counter() - start


def best(function: Callable[[], float], number: int = 5) -> float:
    """The least of several calls, after one that compiles."""
    function()
    return min(function() for _ in range(number))


def rates(backend: Backend) -> dict[str, float]:
    """FLOP/s of products, with the settings that the backend makes: TF32, and bfloat16."""
    platform, found = platform_of(backend), {}
    side, number = SIDES[platform], PRODUCTS[platform]
    for dtype in ("float32", "bfloat16"):
        work = products(backend.name, side, number, dtype)
        seconds = best(lambda work=work: awaited(backend, work))
        found[dtype] = 2 * number * side**3 / seconds
    return found


def charging(backend: Backend) -> dict[str, float]:
    """Seconds in which work is enqueued, and in which the clock would wait for it.

    `kept`: `synchronize` is given the result; `dropped`: nobody keeps it; `left`: what a
    second wait still finds, which a submission would not be charged for.
    """
    platform = platform_of(backend)
    work = products(backend.name, SIDES[platform], PRODUCTS[platform], "float32")
    found = {"alone": best(lambda: awaited(backend, work))}
    for name in ("kept", "dropped"):
        start = time.perf_counter()
        result = work()
        found[f"{name} enqueued"] = time.perf_counter() - start
        if name == "dropped":
            result = None
        backend.synchronize(result)
        found[f"{name} charged"] = time.perf_counter() - start
        start = time.perf_counter()
        backend.synchronize(result)
        found[f"{name} left"] = time.perf_counter() - start
    return found


def copies(backend: Backend) -> dict[str, float | None]:
    """Seconds of computation, of copying a batch to the device, and of both at once.

    `overlap`: 1 where the shorter hides behind the longer, 0 where they queue; None on a
    CPU, where nothing is copied.
    """
    platform = platform_of(backend)
    work = products(backend.name, SIDES[platform], PRODUCTS[platform], "float32")
    batch = {"x": np.ones((64, BATCH_BYTES[platform] // 256), np.float32)}

    def copy() -> None:
        backend.synchronize(backend.place(batch))

    def timed_copy() -> float:
        start = time.perf_counter()
        copy()
        return time.perf_counter() - start

    def both() -> float:
        start = time.perf_counter()
        result = work()
        thread = threading.Thread(target=backend.place, args=(batch,))
        thread.start()
        thread.join()
        backend.synchronize(result)
        return time.perf_counter() - start

    computing, copying = best(lambda: awaited(backend, work)), best(timed_copy)
    together = best(both)
    saved = computing + copying - together
    is_gpu = platform == "gpu"
    return {
        "computing": computing,
        "copying": copying,
        "together": together,
        "overlap": saved / min(computing, copying) if is_gpu else None,
    }


JOBS = {"rates": rates, "charging": charging, "copies": copies}


def main() -> None:
    """Runs the job that is named, with the framework that is named."""
    job, framework = sys.argv[1:]
    backend = backends.load(framework)
    print(json.dumps(JOBS[job](backend)))


if __name__ == "__main__":
    main()
