"""Speed of the librispeech input pipeline, as ratios to what is measured beside it.

    python benchmarks/librispeech_input.py packed    # utterances/s of one core
    python benchmarks/librispeech_input.py prepare   # FLAC files/s, archive to packed form

Utterances are made-up noise of 12.3 s in the mean, LibriSpeech's lengths roughly.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from measuring import shortest

from algoperf import pipeline
from algoperf.datasets.librispeech import audio, clips, raw, reader
from algoperf.datasets.librispeech.packing import Packing
from algoperf.definition import Split, Splits
from algoperf.prepared import Preparation
from algoperf.workloads._speech import data as batches

CONSUMED = 256 / 0.79  # utterances/s of training on 8 x V100, published logs
PUBLISHED_PIPELINE = 240  # utterances/s on two virtual cores
NUM_UTTERANCES = 400
SPLITS = Splits(NUM_UTTERANCES, NUM_UTTERANCES, NUM_UTTERANCES, NUM_UTTERANCES)


def lengths(number: int) -> np.ndarray:
    """Numbers of samples, int64 [number]: many of 12 to 16 s, some short ones."""
    rng = np.random.default_rng(0)
    long = rng.normal(14.5, 1.5, number).clip(10, 20)
    short = rng.uniform(2, 10, number)
    chosen = np.where(rng.random(number) < 0.74, long, short)
    return (chosen * reader.SAMPLE_RATE).astype(np.int64)


def made_up_utterances(folder: Path) -> reader.Utterances:
    """Packed noise in one file, mapped into memory, with 60 tokens an utterance."""
    rng = np.random.default_rng(0)
    index = np.zeros(NUM_UTTERANCES, reader.INDEX_DTYPE)
    index["num_samples"] = lengths(NUM_UTTERANCES)
    index["start"] = np.cumsum(index["num_samples"]) - index["num_samples"]
    index["num_tokens"] = 60
    index["token_start"] = 60 * np.arange(NUM_UTTERANCES)
    path = folder / "audio.pcm"
    total = int(index["num_samples"].sum())
    rng.integers(-3000, 3000, total, np.int16).tofile(path)
    tokens = rng.integers(3, 1_024, 60 * NUM_UTTERANCES).astype(reader.TOKEN_DTYPE)
    mapped = np.asarray(np.memmap(path, reader.AUDIO_DTYPE, "r"))
    return reader.Utterances([mapped], index, tokens)


def benchmark_batches(
    utterances: reader.Utterances, split: Split, config: batches.DataConfig
) -> None:
    """Batches a second of one core, beside writing the same arrays."""
    size = 64
    request = pipeline.DataRequest(Path(), split, SPLITS, size, seed=0, config=config)
    opened = batches.SpeechBatches(request, utterances)
    batch = opened.batch(0)
    arrays = [*batch["inputs"], *batch["targets"]]
    number = 4
    made = shortest(lambda: [opened.batch(i) for i in range(number)])

    def copy() -> None:
        for _ in range(number):
            _ = [array.copy() for array in arrays]

    rate = number * size / made
    print(
        f"{split}, trim_padding={config.trim_padding}: {rate:,.0f} utterances/s of one "
        f"core; {rate / CONSUMED:.1f} x what 8 x V100 consume; "
        f"{rate / PUBLISHED_PIPELINE:.1f} x the published pipeline on two cores; "
        f"{shortest(copy) / made:.2f} of the speed of copying the arrays"
    )


def benchmark_prepare(folder: Path) -> None:
    """A set from its archive to packed audio, beside FLAC decoding alone."""
    number = 100
    utterances = made_up_utterances(folder)
    # Noise does not compress: slow to decode, and the files are larger than real ones.
    content = [clips.flac(np.array(utterances.samples(i))) for i in range(number)]
    names = [f"1-1-{i:04d}" for i in range(number)]
    members = {
        f"LibriSpeech/dev-clean/1/1/{name}.flac": c
        for name, c in zip(names, content, strict=True)
    }
    lines = "".join(f"{name} SOME WORDS\n" for name in names)
    members["LibriSpeech/dev-clean/1/1/1-1.trans.txt"] = lines.encode()
    archive = folder / "dev-clean.tar.gz"
    clips.write_archive(archive, members)

    def decode() -> None:
        for c in content:
            audio.read_flac(c, "", max_samples=320_000)

    def unpack() -> None:
        for _ in raw.chapters(archive, "dev-clean"):
            pass

    def pack() -> None:
        with (
            tempfile.TemporaryDirectory(dir=folder) as out,
            Preparation(Path(out), dataset="librispeech", format_version=1) as made,
            Packing(made, lambda *_: None, file_bytes=1 << 29) as packing,
        ):
            packing.pack(archive, "dev-clean", limit=None, needs_all_texts=False)

    packed, decoded, unpacked = (shortest(f, 3) for f in (pack, decode, unpack))
    print(
        f"packing: {number / packed:,.0f} utterances/s of one core, "
        f"{sum(map(len, content)) / packed / 1e6:,.0f} MB/s of FLAC; decoding alone "
        f"takes {decoded / packed:.2f} of it, reading the archive {unpacked / packed:.2f}"
        f"; all 281,241 training utterances: {281_241 * packed / number / 60:.0f} "
        "minutes of one core"
    )


def main() -> None:
    """Runs the part that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["packed", "prepare"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.part == "prepare":
            benchmark_prepare(Path(folder))
            return
        utterances = made_up_utterances(Path(folder))
        for split in ("train", "validation"):
            for trim_padding in (False, True):
                config = batches.DataConfig(trim_padding=trim_padding)
                benchmark_batches(utterances, split, config)


if __name__ == "__main__":
    main()
