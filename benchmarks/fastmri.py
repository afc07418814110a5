"""Speed of the fastmri workload, as ratios to what is measured beside it.

    python benchmarks/fastmri.py pipeline    # slices/s of one core, of the FFT alone
    python benchmarks/fastmri.py metric      # structural similarity, ms a slice
    python benchmarks/fastmri.py evaluation  # all but the model; memory of 50
    python benchmarks/fastmri.py picture --data-dir DIR     # docs/images/...

Slices are made up, in the size of the knee data: 640 x 372, cropped to 320 x 320. The
picture trains the mini form for a minute and shows slices of its test split.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import print_memory, shortest

from algoperf import backend as backends
from algoperf import pipeline, registry, rulesets, spec
from algoperf.datasets.fastmri import prepare, reader
from algoperf.definition import WorkloadDefinition
from algoperf.prepared import Preparation
from algoperf.workload import Workload
from algoperf.workloads.fastmri import data, metrics
from algoperf.workloads.fastmri.definition import DEFINITION

PUBLISHED_SLICES_PER_SECOND = 32 / 0.246  # training on 8 x V100, published logs
SIDE, COLUMNS, SLICES = 320, 372, 96
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "fastmri_reconstruction.png"


def made_up_data(folder: Path) -> pipeline.DataRequest:
    """A prepared training split of noise, of full-size slices."""
    rng = np.random.default_rng(0)
    shape = SLICES, COLUMNS, SIDE, 2
    size = reader.slice_size(COLUMNS, SIDE)
    values = np.empty((SLICES, size), np.float32)
    values[:, : 2 * COLUMNS * SIDE] = rng.normal(size=shape).reshape(SLICES, -1)
    values[:, 2 * COLUMNS * SIDE :] = rng.random((SLICES, SIDE * SIDE))
    table = np.zeros(SLICES, reader.SLICE)
    table["num_columns"], table["volume_max"] = COLUMNS, 1
    table["offset"] = np.arange(SLICES) * size
    with Preparation(
        folder, dataset=reader.DATASET, format_version=reader.FORMAT_VERSION
    ) as preparation:
        for name, array in (
            (reader.table_name("train"), table),
            (reader.part_name("train", 0), values.ravel()),
        ):
            with preparation.part(name) as path:
                np.save(path, array)
        counts = {"train": SLICES, "validation": 0, "test": 0}
        preparation.finish(counts, facts={"side": SIDE})
    splits = dataclasses.replace(DEFINITION.splits, eval_train=SLICES, **counts)
    return pipeline.DataRequest(
        folder, "train", splits, batch_size=32, seed=0, config=DEFINITION.data
    )


def benchmark_pipeline() -> None:
    """Slices a second of one core, computed and from the cache, and their equality."""
    rng = np.random.default_rng(0)
    kspace = (rng.normal(size=(640, COLUMNS)) * (1 + 1j)).astype(np.complex64)
    fft = shortest(lambda: np.fft.ifft2(kspace))
    half = shortest(lambda: prepare.to_columns(kspace, SIDE))
    with tempfile.TemporaryDirectory() as folder:
        request = made_up_data(Path(folder) / "fastmri")
        plain = dataclasses.replace(DEFINITION.data, cache=False)
        computing = data.open_batches(dataclasses.replace(request, config=plain))
        cached = data.open_batches(request)
        made, first = computing.batch(0), cached.batch(0)
        again = cached.batch(0)
        for name, array in made.items():
            assert np.array_equal(array, first[name]), name
            assert np.array_equal(array, again[name]), name
        times = {
            "computed": shortest(lambda: computing.batch(1)),
            "from the cache": shortest(lambda: cached.batch(0)),
            "copied": shortest(lambda: [array.copy() for array in made.values()]),
        }
    print(
        f"inverse FFT of 640 x {COLUMNS} alone: {1e3 * fft:.2f} ms; preparation's half "
        f"of it, cropped: {1e3 * half:.2f} ms"
    )
    for name, spent in times.items():
        rate = 32 / spent
        print(
            f"{name}: {rate:,.0f} slices/s of one core; {rate * fft:.2f} x the inverse "
            f"FFT alone; {rate / PUBLISHED_SLICES_PER_SECOND:.1f} x what 8 x V100 "
            "consume in training"
        )
    print("computed and cached batches are bit-equal")


def benchmark_metric() -> None:
    """Structural similarity of 32 slices in each framework, and scikit-image's."""
    import jax
    import torch
    from array_api_compat import torch as torch_namespace
    from skimage.metrics import structural_similarity

    number = 32
    rng = np.random.default_rng(0)
    x, y = rng.random((2, number, SIDE, SIDE)).astype(np.float32)
    ones = np.ones(number, np.float32)
    torch.set_num_threads(1)
    tensors = [torch.tensor(array) for array in (x, y, ones)]
    compiled = jax.jit(lambda *arrays: metrics.ssim(jax.numpy, *arrays))
    arrays = [jax.numpy.asarray(array) for array in (x, y, ones)]

    def peer() -> list[float]:
        return [
            structural_similarity(a, b, data_range=1.0)
            for a, b in zip(x[:4], y[:4], strict=True)
        ]

    difference = np.abs(metrics.ssim(np, x[:4], y[:4], ones[:4]) - peer()).max()
    peers = 1e3 * shortest(peer) / 4
    for name, function in (
        ("numpy", lambda: metrics.ssim(np, x, y, ones)),
        ("pytorch", lambda: metrics.ssim(torch_namespace, *tensors)),
        ("jax", lambda: jax.block_until_ready(compiled(*arrays))),
    ):
        function()
        spent = 1e3 * shortest(function) / number
        print(
            f"ssim, {name}: {spent:.2f} ms of one core for a slice, {peers / spent:.1f} "
            f"x scikit-image's speed ({peers:.1f} ms)"
        )
    print(f"largest difference from scikit-image: {difference:.0e}")


def benchmark_evaluation() -> None:
    """What an evaluation takes beside the model: cached slices and their metric."""
    with tempfile.TemporaryDirectory() as folder:
        request = made_up_data(Path(folder) / "fastmri")
        batches = data.open_batches(dataclasses.replace(request, split="eval_train"))

        def evaluate() -> dict[str, float]:
            found = []
            for index in range(SLICES // request.batch_size):
                batch = batches.batch(index)
                loss = np.abs(batch["inputs"] - batch["targets"]).mean(axis=(1, 2))
                found.append(metrics.outputs(np, batch["inputs"], batch, loss))
            return metrics.summarise(found)

        evaluate()
        spent = shortest(evaluate, 3) / SLICES
        splits = DEFINITION.splits
        number = splits.eval_train + splits.validation + splits.test
        period = DEFINITION.eval_period_seconds
        print(
            f"evaluation without the model: {1e3 * spent:.2f} ms of one core for a "
            f"slice, {number * spent:.0f} s for {number:,}; on 16 cores "
            f"{100 * number * spent / 16 / period:.1f} % of the period of {period} s"
        )
        print_memory(evaluate)


def make_adamw_step(
    definition: WorkloadDefinition, rate: float
) -> tuple[Callable[..., np.ndarray], Callable[..., None]]:
    """Functions of a numpy batch: reconstruct it; take a step of AdamW, in PyTorch."""
    import torch

    backend = backends.load("pytorch")
    workload = Workload(
        definition,
        backend,
        registry.module("workloads", "fastmri", "model_pytorch"),
        metrics,
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )
    keys = backend.keys(np.array([[0, 1], [2, 3]]))
    params, state = workload.init_model_fn(keys[0])
    optimizer = torch.optim.AdamW(params.parameters(), lr=rate)

    def logits_of(batch: Any) -> Any:
        mode = spec.ForwardPassMode.TRAIN
        return workload.model_fn(params, batch, state, mode, keys[1], True)[0]

    def step(host_batch: dict[str, np.ndarray]) -> None:
        batch = backend.place(host_batch)
        optimizer.zero_grad()
        loss = workload.loss_fn(batch["targets"], logits_of(batch))
        (loss["summed"] / loss["n_valid_examples"]).backward()
        optimizer.step()

    return lambda batch: logits_of(backend.place(batch)).detach().numpy(), step


def make_picture(data_dir: Path, num_steps: int = 600) -> None:
    """Zero-filled, reconstructed and target, four test slices: a PNG of 64 x 64 each."""
    from PIL import Image

    definition = registry.definition("fastmri_mini")
    request = pipeline.DataRequest(
        data_dir / definition.prepared_name,
        "train",
        definition.splits,
        definition.default_batch_size,
        seed=0,
        config=definition.data,
    )
    train = data.open_batches(request)
    reconstruct, step = make_adamw_step(definition, 3e-3)
    for index in range(num_steps):
        step(train.batch(index))
    test = data.open_batches(
        dataclasses.replace(request, split="test", batch_size=120)
    ).batch(0)
    images = test["inputs"], reconstruct({"inputs": test["inputs"]}), test["targets"]
    chosen = [2, 8, 14, 20]
    scale = test["std"][chosen], test["mean"][chosen], test["volume_max"][chosen]
    std, mean, top = (array[:, None, None] for array in scale)
    rows = [
        np.hstack(np.clip((image[chosen] * std + mean) / top, 0, 1)) for image in images
    ]
    for name, image in zip(("zero-filled", "reconstructed"), images, strict=False):
        found = metrics.outputs(np, image, test, np.zeros(120))
        print(
            f"{name}: ssim {metrics.summarise([found])['ssim']:.3f} of the test split"
        )
    pixels = (255 * np.vstack(rows)).astype(np.uint8)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels).resize((512, 384), Image.Resampling.BICUBIC)
    picture.save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


PARTS: dict[str, Any] = {
    "pipeline": benchmark_pipeline,
    "metric": benchmark_metric,
    "evaluation": benchmark_evaluation,
    "picture": make_picture,
}


def main() -> None:
    """Runs the part that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--data-dir", type=Path, help="with a prepared fastmri_mini")
    options = parser.parse_args()
    if options.part != "picture":
        PARTS[options.part]()
    elif options.data_dir is None:
        parser.error("picture needs --data-dir")
    else:
        make_picture(options.data_dir)


if __name__ == "__main__":
    main()
