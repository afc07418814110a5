"""Makes tfds_folders.tar.xz: a few examples as official raw files and as TFDS stores them.

    pip install tensorflow-cpu==2.21.0 tensorflow-datasets==4.9.10 array-record==0.8.6 \\
        pandas scipy
    python tests/datasets/make_tfds_folders.py

The builders are those of tensorflow-datasets; only their downloads are replaced, by the
raw files that are written here, and the numbers of MNIST's examples, which its builder
knows. Run it again only for other content: PNG and zstd may give other bytes.
"""

import gzip
import io
import shutil
import tarfile
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.image_classification import mnist

PACKED = Path(__file__).with_name("tfds_folders.tar.xz")
HERE = Path(tempfile.mkdtemp())
RAW = HERE / "raw"
NUM_TRAIN, NUM_TEST = 10, 3
RNG = np.random.default_rng(0)
CLASSES = ("n01440764", "n01443537", "n01484850")  # the first three, so 0 to 2


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_idx(name: str) -> None:
    for file, count in (("train", NUM_TRAIN), ("t10k", NUM_TEST)):
        images = RNG.integers(0, 256, (count, 28, 28), np.uint8)
        images[:, ::2] = 0
        labels = RNG.integers(0, 10, count).astype(np.uint8)
        for kind, magic, array in (
            ("images", 0x803, images),
            ("labels", 0x801, labels),
        ):
            header = np.array([magic, *array.shape], ">u4").tobytes()
            axes = 3 if kind == "images" else 1
            packed = gzip.compress(header + array.tobytes(), mtime=0)
            write(RAW / name / f"{file}-{kind}-idx{axes}-ubyte.gz", packed)


def write_cifar(name: str, folder: str, files: dict, label_bytes: int) -> None:
    for file, count in files.items():
        labels = RNG.integers(0, 10, (count, label_bytes), np.uint8)
        pixels = RNG.integers(0, 256, (count, 3, 32, 32), np.uint8)
        pixels[:, :, ::2] = 7
        records = np.concatenate([labels, pixels.reshape(count, -1)], axis=1)
        write(RAW / name / folder / f"{file}.bin", records.tobytes())


def write_svhn() -> None:
    (RAW / "svhn").mkdir(parents=True, exist_ok=True)
    for file, count in (("train", NUM_TRAIN), ("test", NUM_TEST), ("extra", 2)):
        pixels = RNG.integers(0, 256, (32, 32, 3, count), np.uint8)
        pixels[::2] = 9
        labels = RNG.integers(1, 11, (count, 1)).astype(np.uint8)
        tables = {"X": pixels, "y": labels}
        path = RAW / "svhn" / f"{file}_32x32.mat"
        scipy.io.savemat(path, tables, do_compression=True)


def jpeg() -> bytes:
    small = RNG.integers(0, 256, (3, 3, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(small).resize((24, 20)).save(content, "JPEG", quality=60)
    return content.getvalue()


def tar(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(
        fileobj=content, mode="w", format=tarfile.USTAR_FORMAT
    ) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def write_imagenet() -> None:
    folder = RAW / "imagenet"
    classes = {
        f"{name}.tar": tar({f"{name}_{number}.JPEG": jpeg() for number in (9, 10, 3)})
        for name in CLASSES
    }
    write(folder / "ILSVRC2012_img_train.tar", tar(classes))
    names = [CLASSES[i] for i in (2, 0, 1, 1)]
    images = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": jpeg() for i in range(4)}
    write(folder / "ILSVRC2012_img_val.tar", tar(images))
    text = "".join(f"{name}\n" for name in names)
    write(folder / "imagenet_2012_validation_synset_labels.txt", text.encode())
    top = "imagenetv2-matched-frequency-format-val"
    test = {f"{top}/{n}/{i:04x}.jpeg": jpeg() for n in range(3) for i in (17, 2)}
    write(folder / f"{top}.unpacked", b"")
    for name, data in test.items():
        write(folder / name, data)
    (folder / f"{top}.unpacked").unlink()


def write_wmt() -> None:
    folder = RAW / "wmt"
    texts = {
        "training/europarl-v7.de-en": 30,
        "commoncrawl.de-en": 20,
        "training/news-commentary-v12.de-en": 10,
        "rapid2016.de-en": 8,
        "dev/newstest2013": 7,
    }
    words = [
        "Haus",
        "house",
        "der",
        "the",
        "läuft",
        "runs",
        "schnell",
        "quickly",
        "\u2028",
    ]
    for name, count in texts.items():
        for side in ("de", "en"):
            lines = []
            for row in range(count):
                chosen = RNG.integers(0, len(words), 3 + row % 5)
                lines.append(f"{row} {side} " + " ".join(words[i] for i in chosen))
            if not name.startswith("dev"):  # pairs that are left out
                lines[3 if side == "de" else 5] = ""
            write(folder / f"{name}.{side}", ("\n".join(lines) + "\n").encode())
    for kind, side in (("src", "de"), ("ref", "en")):
        segments = "".join(
            f'<seg id="{row}">{side} sentence {row * row}</seg>\n' for row in range(6)
        )
        content = f'<doc docid="a">\n{segments}</doc>\n'
        write(folder / f"dev/newstest2014-deen-{kind}.{side}.sgm", content.encode())


# Of the splits that the builders have and nobody reads.
UNREAD = (
    "training/news-commentary-v9.de-en.de",
    "training/news-commentary-v9.de-en.en",
    "dev/newstest2016-deen-src.de.sgm",
    "dev/newstest2016-deen-ref.en.sgm",
    "dev/newstest2017-deen-src.de.sgm",
    "dev/newstest2017-deen-ref.en.sgm",
)


def write_ogbg() -> None:
    folder = RAW / "ogbg" / "pcba"
    num_graphs = 24
    num_nodes = RNG.integers(1, 6, num_graphs)
    num_nodes[4] = 1
    num_bonds = np.where(num_nodes == 1, 0, num_nodes)
    bonds = np.concatenate(
        [RNG.integers(0, n, (b, 2)) for n, b in zip(num_nodes, num_bonds, strict=True)]
    )
    labels = RNG.integers(0, 2, (num_graphs, 128)).astype(float)
    labels[RNG.random(labels.shape) < 0.3] = np.nan
    tables = {
        "raw/num-node-list": num_nodes[:, None],
        "raw/num-edge-list": num_bonds[:, None],
        "raw/node-feat": RNG.integers(0, 40, (num_nodes.sum(), 9)),
        "raw/edge": bonds,
        "raw/edge-feat": RNG.integers(0, 4, (num_bonds.sum(), 3)),
        "raw/graph-label": labels,
    }
    order = RNG.permutation(num_graphs)
    for name, rows in (
        ("train", order[:16]),
        ("valid", order[16:20]),
        ("test", order[20:]),
    ):
        tables[f"split/scaffold/{name}"] = rows[:, None]
    for name, table in tables.items():
        cells = np.where(
            np.isnan(table), "", np.nan_to_num(table).astype(int).astype(str)
        )
        text = "".join(",".join(row) + "\n" for row in cells.tolist())
        write(folder / f"{name}.csv.gz", gzip.compress(text.encode(), mtime=0))


def local(name: str):
    """Instead of downloading: where the raw file of an address lies."""

    def find(_, address):
        if isinstance(address, dict):
            return {key: find(_, value) for key, value in address.items()}
        if isinstance(address, list | tuple):
            return [find(_, value) for value in address]
        path = RAW / name / str(address).rpartition("/")[2]
        if path.name.endswith("ubyte.gz"):
            plain = HERE / "unpacked" / path.name.removesuffix(".gz")
            write(plain, gzip.decompress(path.read_bytes()))
            return plain
        return path if path.is_file() else RAW / name

    return find


def build(name: str, builder_name: str, file_format: str) -> None:
    root = HERE / file_format
    builder = tfds.builder(builder_name, data_dir=root, file_format=file_format)
    manager = tfds.download.DownloadManager
    common = "tensorflow_datasets.datasets.imagenet2012.imagenet_common"
    labels = (RAW / "imagenet/imagenet_2012_validation_synset_labels.txt").read_text()
    images = [f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(4)]
    with (
        mock.patch.object(manager, "download", local(name)),
        mock.patch.object(manager, "download_and_extract", local(name)),
        mock.patch.object(mnist, "_TRAIN_EXAMPLES", NUM_TRAIN),
        mock.patch.object(mnist, "_TEST_EXAMPLES", NUM_TEST),
        mock.patch(
            f"{common}.get_validation_labels",
            lambda _: dict(zip(images, labels.split(), strict=True)),
        ),
    ):
        config = tfds.download.DownloadConfig(
            manual_dir=RAW / name, try_download_gcs=False, num_shards=2
        )
        builder.download_and_prepare(download_config=config)


BUILDERS = {
    "mnist": ("mnist",),
    "fashion_mnist": ("fashion_mnist",),
    "cifar10": ("cifar10",),
    "cifar100": ("cifar100",),
    "svhn": ("svhn_cropped",),
    "imagenet": ("imagenet2012", "imagenet_v2/matched-frequency"),
    "wmt": ("wmt17_translate/de-en", "wmt14_translate/de-en"),
    "ogbg": ("ogbg_molpcba",),
}


def main() -> None:
    write_idx("mnist")
    write_idx("fashion_mnist")
    names = [f"data_batch_{number}" for number in range(1, 6)]
    files = dict.fromkeys(names, NUM_TRAIN // 5) | {"test_batch": NUM_TEST}
    write_cifar("cifar10", "cifar-10-batches-bin", files, 1)
    write_cifar(
        "cifar100", "cifar-100-binary", {"train": NUM_TRAIN, "test": NUM_TEST}, 2
    )
    for path, number in (
        ("cifar10/cifar-10-batches-bin/batches.meta.txt", 10),
        ("cifar100/cifar-100-binary/coarse_label_names.txt", 20),
        ("cifar100/cifar-100-binary/fine_label_names.txt", 100),
    ):
        write(RAW / path, "".join(f"class{i}\n" for i in range(number)).encode())
    write_svhn()
    write_imagenet()
    write_wmt()
    write_ogbg()
    for path in UNREAD:
        write(RAW / "wmt" / path, b'<seg id="1">unread</seg>\n' * 3)
    for file_format in ("tfrecord", "array_record"):
        for name, builders in BUILDERS.items():
            for builder in builders:
                build(name, builder, file_format)
    for path in UNREAD:
        (RAW / "wmt" / path).unlink()
    with tarfile.open(PACKED, "w:xz") as archive:
        for name in ("raw", "tfrecord", "array_record"):
            shutil.rmtree(HERE / name / "downloads", ignore_errors=True)
            archive.add(HERE / name, name, filter=anonymous)
    shutil.rmtree(HERE)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
