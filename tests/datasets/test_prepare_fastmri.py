"""Preparing fastMRI: simulated scans, the official layout, bad raw files."""

import itertools

import numpy as np
import pytest

from algoperf import registry
from algoperf.datasets.fastmri import prepare, reader, scans
from algoperf.definition import Splits
from algoperf.errors import BadData, MissingDependency
from algoperf.prepared import Preparation, PreparedData

h5py = pytest.importorskip("h5py")
from algoperf.datasets.fastmri import volumes  # noqa: E402

MINI = registry.definition("fastmri_mini").splits
SIDE = 8
SMALL = Splits(train=9, eval_train=2, validation=5, test=4)
# Slices and columns of each volume; sorted by name, 2 + 3 are validation, 3 + 1 test.
TRAIN = {"file10.h5": (2, 10), "file2.h5": (3, 9), "file3.h5": (4, 8)}
VAL = {
    "file1.h5": (2, 8),
    "file20.h5": (3, 11),
    "file3.h5": (3, 8),
    "file4.h5": (1, 8),
}


def write_volume(path, num_slices, num_columns, seed):
    rng = np.random.default_rng(seed)
    shape = num_slices, 2 * SIDE, num_columns
    kspace = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    target = rng.random((num_slices, SIDE, SIDE))
    volumes.write(path, kspace.astype(np.complex64), target.astype(np.float32))


@pytest.fixture
def raw(tmp_path):
    """A small data set in the official layout."""
    for folder, files in (("train", TRAIN), ("val", VAL)):
        path = tmp_path / "raw" / f"knee_singlecoil_{folder}"
        path.mkdir(parents=True)
        for seed, (name, sizes) in enumerate(files.items()):
            write_volume(path / name, *sizes, seed)
    return tmp_path / "raw"


def run(raw, folder, splits=SMALL, subset=None):
    with Preparation(
        folder, dataset="fastmri", format_version=reader.FORMAT_VERSION, subset=subset
    ) as preparation:
        prepare.prepare(raw, preparation, splits=splits, subset=subset)
    return PreparedData.open(folder, dataset="fastmri", allow_partial=True, verify=True)


def assert_refused(raw, tmp_path, message, splits=SMALL):
    with pytest.raises(BadData, match=message):
        run(raw, tmp_path / "out", splits)
    assert not (tmp_path / "out" / "manifest.json").exists()


def centred_inverse(kspace, axis):
    shifted = np.fft.ifftshift(kspace, axes=axis)
    return np.fft.fftshift(np.fft.ifft(shifted, axis=axis, norm="ortho"), axes=axis)


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    """The shipped scans as raw files in the official layout."""
    raw = tmp_path_factory.mktemp("brain")
    prepare.expand_embedded(raw)
    return raw


def test_the_shipped_brain_is_prepared_by_the_same_code(brain, tmp_path):
    data = run(brain, tmp_path / "out", MINI)
    assert data.counts == {"train": 1_008, "validation": 120, "test": 120}
    assert data.facts == {
        "side": 64,
        "volumes": {"train": 168, "validation": 20, "test": 20},
    }
    slices = reader.read_split(data, "validation")
    assert slices.target(7).shape == (64, 64)
    assert slices.volume_max[0] == max(slices.target(i).max() for i in range(6))


def test_no_piece_of_brain_in_one_direction_is_in_two_splits():
    taken = [
        (slab.axis, slab.first // scans._SPACING)
        for slabs in scans.slabs().values()
        for slab in slabs
    ]
    assert len(set(taken)) == len(taken) == 20
    firsts = sorted(
        (slab.axis, slab.first) for slabs in scans.slabs().values() for slab in slabs
    )
    for (axis, first), (other_axis, other) in itertools.pairwise(firsts):
        assert axis != other_axis or other - first >= scans._SLICES + 2


def test_the_target_of_a_simulated_scan_is_made_of_all_its_measurements():
    template = scans.read_template(prepare._EMBEDDED / "template.npy.gz")
    rng = np.random.Generator(np.random.Philox(1))
    kspace, target = scans.scan(template, scans.slabs()["train"][0], rng)
    image = np.abs(centred_inverse(centred_inverse(kspace, 1), 2))
    left = (kspace.shape[2] - 64) // 2
    image = image[:, 32:96, left : left + 64]
    np.testing.assert_allclose(image, target, atol=1e-5 * target.max())


def test_files_are_read_in_the_order_of_their_names(raw, tmp_path):
    slices = reader.read_split(run(raw, tmp_path / "out"), "train")
    assert slices.table["num_columns"].tolist() == [10] * 2 + [9] * 3 + [8] * 4
    with h5py.File(raw / "knee_singlecoil_train" / "file2.h5") as file:
        np.testing.assert_array_equal(slices.target(3), file["reconstruction_esc"][1])
        assert slices.volume_max[3] == np.float32(file.attrs["max"])


def test_the_val_folder_is_divided_between_whole_volumes(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    assert data.counts == {"train": 9, "validation": 5, "test": 4}
    widths = [
        reader.read_split(data, split).table["num_columns"].tolist()
        for split in ("validation", "test")
    ]
    assert widths == [[8, 8, 11, 11, 11], [8, 8, 8, 8]]


@pytest.mark.parametrize("side", [8, 7])
def test_columns_are_transformed_along_the_rows_and_cropped(side):
    rng = np.random.default_rng(0)
    kspace = rng.normal(size=(2 * side, 9)) + 1j * rng.normal(size=(2 * side, 9))
    columns = prepare.to_columns(kspace.astype(np.complex64), side)
    assert columns.dtype == np.complex64
    top = (2 * side - side) // 2
    expected = centred_inverse(kspace, 0)[top : top + side].T
    np.testing.assert_allclose(columns, expected, atol=1e-6)


def test_parts_hold_several_volumes_each(raw, tmp_path, monkeypatch):
    whole = reader.read_split(run(raw, tmp_path / "one"), "train")
    monkeypatch.setattr(prepare, "_VOLUMES_PER_PART", 2)
    cut = reader.read_split(run(raw, tmp_path / "two"), "train")
    assert (len(whole.parts), len(cut.parts)) == (1, 2)
    for index in range(9):
        np.testing.assert_array_equal(cut.columns(index), whole.columns(index))
        np.testing.assert_array_equal(cut.target(index), whole.target(index))


def test_a_preparation_that_was_stopped_goes_on_with_the_next_part(
    raw, tmp_path, monkeypatch
):
    monkeypatch.setattr(prepare, "_VOLUMES_PER_PART", 1)
    written = []
    write_part = prepare._write_part

    def write(path, pieces):
        written.append(path.name)
        if written == ["train-000.npy", "train-001.npy"]:
            raise KeyboardInterrupt
        write_part(path, pieces)

    monkeypatch.setattr(prepare, "_write_part", write)
    with pytest.raises(KeyboardInterrupt):
        run(raw, tmp_path / "out")
    data = run(raw, tmp_path / "out")
    assert written.count("train-000.npy") == 1
    assert written.count("train-001.npy") == 2
    assert len(reader.read_split(data, "train")) == 9


def test_a_subset_has_the_first_slices_and_is_marked(raw, tmp_path):
    whole = reader.read_split(run(raw, tmp_path / "whole"), "train")
    data = run(raw, tmp_path / "part", subset=4)
    assert data.is_partial
    assert data.counts == {"train": 4, "validation": 4, "test": 4}
    part = reader.read_split(data, "train")
    for index in range(4):
        np.testing.assert_array_equal(part.columns(index), whole.columns(index))


def test_the_space_needed_is_what_is_written(raw, tmp_path):
    run(raw, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").glob("*-0*.npy"))
    headers = 3 * 128
    assert prepare.space_needed(raw) == written - headers
    assert prepare.space_needed(None) == pytest.approx(57e9, rel=0.01)


def test_a_subset_needs_little_space(raw, tmp_path):
    run(raw, tmp_path / "out", subset=1)
    written = sum(path.stat().st_size for path in (tmp_path / "out").glob("*-0*.npy"))
    headers = 3 * 128
    assert written - headers <= prepare.space_needed(raw, 1) < prepare.space_needed(raw)
    assert prepare.space_needed(raw, 1_000_000) == prepare.space_needed(raw)


def test_folders_may_have_the_names_of_the_unpacked_archives(raw, tmp_path):
    for folder in ("train", "val"):
        (raw / f"knee_singlecoil_{folder}").rename(raw / f"singlecoil_{folder}")
    assert run(raw, tmp_path / "out").counts["train"] == 9


def test_hidden_and_other_files_are_ignored(raw, tmp_path):
    for name in ("._file2.h5", "notes.txt"):
        (raw / "knee_singlecoil_train" / name).write_text("x")
    assert run(raw, tmp_path / "out").counts["train"] == 9


def test_a_missing_folder_is_named_with_how_to_get_it(raw, tmp_path):
    (raw / "knee_singlecoil_val").rename(raw / "other")
    assert_refused(
        raw, tmp_path, r"has no folder knee_singlecoil_val. It has: knee_singlecoil_"
    )
    with pytest.raises(BadData, match=r"https://fastmri\.med\.nyu\.edu"):
        run(raw, tmp_path / "out")


def test_an_empty_folder_is_named(raw, tmp_path):
    for path in (raw / "knee_singlecoil_train").iterdir():
        path.unlink()
    assert_refused(raw, tmp_path, "train has no .h5 files. It has: nothing")


def test_a_missing_volume_is_noticed(raw, tmp_path):
    (raw / "knee_singlecoil_train" / "file2.h5").unlink()
    assert_refused(raw, tmp_path, "2 volumes with 6 slices; 9 slices are expected")


def test_an_extra_volume_is_noticed(raw, tmp_path):
    write_volume(raw / "knee_singlecoil_val" / "file9.h5", 2, 8, 0)
    assert_refused(raw, tmp_path, "5 volumes with 11 slices; 9 slices are expected")


def test_renamed_volumes_that_change_the_division_are_noticed(raw, tmp_path):
    folder = raw / "knee_singlecoil_val"
    (folder / "file1.h5").rename(folder / "file9.h5")
    splits = Splits(train=9, eval_train=2, validation=5, test=4)
    assert_refused(raw, tmp_path, "no number of first volumes has 5 slices", splits)


def test_a_file_that_is_no_hdf5_file_is_named(raw, tmp_path):
    (raw / "knee_singlecoil_train" / "file2.h5").write_text("<html>expired</html>")
    assert_refused(raw, tmp_path, r"file2.h5 cannot be read as HDF5")


def test_a_file_that_is_cut_off_is_named(raw, tmp_path):
    path = raw / "knee_singlecoil_train" / "file2.h5"
    path.write_bytes(path.read_bytes()[:-100])
    assert_refused(raw, tmp_path, r"file2.h5 cannot be read as HDF5 .*truncated")


def change(raw, name="file2.h5"):
    return h5py.File(raw / "knee_singlecoil_train" / name, "a")


def test_a_missing_maximum_is_an_error_not_zero(raw, tmp_path):
    with change(raw) as file:
        del file.attrs["max"]
    assert_refused(raw, tmp_path, "file2.h5 has no attribute 'max'")


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_maximum_that_is_no_positive_number_is_refused(raw, tmp_path, value):
    with change(raw) as file:
        file.attrs["max"] = value
    assert_refused(raw, tmp_path, "attribute 'max' is .*; a positive number")


def test_a_file_of_the_official_test_folder_is_refused(raw, tmp_path):
    with change(raw) as file:
        del file["reconstruction_esc"]
    assert_refused(raw, tmp_path, "file2.h5 has no reconstruction_esc; it has: kspace")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("kspace", np.zeros((3, 16, 9), np.complex128), "kspace is complex128"),
        ("kspace", np.zeros((3, 15, 9), np.complex64), r"\(3, 15, 9\)"),
        ("kspace", np.zeros((3, 16, 7), np.complex64), r"\(3, 16, 7\)"),
        ("kspace", np.zeros((2, 16, 9), np.complex64), r"\(2, 16, 9\)"),
        ("kspace", np.zeros((16, 9), np.complex64), r"\(16, 9\)"),
        ("reconstruction_esc", np.zeros((3, 8, 9), np.float32), r"\(3, 8, 9\)"),
        ("reconstruction_esc", np.zeros((3, 8, 8), np.int32), "int32, not float32"),
    ],
)
def test_arrays_of_other_types_or_shapes_are_refused(
    raw, tmp_path, name, array, message
):
    with change(raw) as file:
        del file[name]
        file[name] = array
    assert_refused(raw, tmp_path, f"file2.h5.*{message}")


def test_images_of_two_sizes_are_refused(raw, tmp_path):
    with change(raw) as file:
        del file["kspace"], file["reconstruction_esc"]
        file["kspace"] = np.ones((3, 12, 9), np.complex64)
        file["reconstruction_esc"] = np.ones((3, 6, 6), np.float32)
    assert_refused(raw, tmp_path, "images of 6x6 pixels, .*file10.h5 of 8x8")


@pytest.mark.parametrize("name", ["kspace", "reconstruction_esc"])
def test_a_value_that_is_not_finite_is_shown_with_its_slice(raw, tmp_path, name):
    with change(raw) as file:
        file[name][1, 0, 0] = np.nan
    assert_refused(raw, tmp_path, f"file2.h5, slice 1: {name} is not finite")


def test_a_slice_of_zeros_is_refused(raw, tmp_path):
    with change(raw) as file:
        file["kspace"][2] = 0
    assert_refused(raw, tmp_path, "file2.h5, slice 2: kspace is zero everywhere")


def test_the_shipped_scans_are_not_taken_for_the_full_data_set(brain, tmp_path):
    full = registry.definition("fastmri").splits
    with pytest.raises(BadData, match=r"1,008 slices; 34,742 slices are expected"):
        run(brain, tmp_path / "out", full)


def test_without_h5py_the_extra_to_install_is_named(raw, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingDependency, match=r"pip install 'algoperf\[data\]'"):
        run(raw, tmp_path / "out")


def test_prepared_files_that_do_not_hold_the_promised_slices_are_refused(raw, tmp_path):
    run(raw, tmp_path / "out")
    facts = {"side": SIDE}
    with Preparation(
        tmp_path / "other", dataset="fastmri", format_version=reader.FORMAT_VERSION
    ) as other:
        for name in ("train-slices.npy", "train-000.npy"):
            with other.part(name) as path:
                np.save(path, np.load(tmp_path / "out" / name)[:-1])
        other.finish({"train": 8}, facts=facts)
    data = PreparedData.open(tmp_path / "other", dataset="fastmri")
    with pytest.raises(BadData, match="do not hold the 8 slices"):
        reader.read_split(data, "train")


VOLUME = "knee_singlecoil_train/file2.h5"


def rewritten(raw, change):
    """Opens a volume for changes; its path."""
    with h5py.File(raw / VOLUME, "r+") as file:
        change(file)
    return raw / VOLUME


@pytest.mark.parametrize(
    "value",
    [
        np.array([2.5]),
        np.array([[2.5]], np.float32),
        np.float32(2.5),
        np.array([5], np.int32),
    ],
    ids=["array", "matrix", "float32", "integers"],
)
def test_a_largest_value_in_an_array_of_one_is_read(raw, value):
    path = rewritten(raw, lambda file: file.attrs.__setitem__("max", value))
    assert volumes.read_header(path).maximum == float(value.item())


BAD_MAXIMA = {
    "two values": np.array([1.0, 2.0]),
    "no value": np.array([], np.float32),
    "text": "large",
    "bytes": np.bytes_(b"x"),
    "complex": 1j,
    "none": h5py.Empty("f"),
    "not a number": np.nan,
    "negative": -1.0,
    "true": True,
}


@pytest.mark.parametrize("value", BAD_MAXIMA.values(), ids=BAD_MAXIMA)
def test_a_largest_value_that_is_no_positive_number_is_refused(raw, tmp_path, value):
    rewritten(raw, lambda file: file.attrs.__setitem__("max", value))
    assert_refused(raw, tmp_path, "file2.h5: the attribute 'max' is ")


def linked(name, link):
    def change(file):
        del file[name]
        file[name] = link

    return change


LINKS = {
    "outside": (h5py.ExternalLink("gone.h5", "/k"), r"gone\.h5, its /k"),
    "inside": (h5py.SoftLink("/gone"), "its /gone"),
    "itself": (h5py.SoftLink("/kspace"), "its /kspace"),
}


@pytest.mark.parametrize(("link", "place"), LINKS.values(), ids=LINKS)
def test_a_link_to_measurements_that_are_gone_is_named(raw, tmp_path, link, place):
    rewritten(raw, linked("kspace", link))
    message = rf"file2\.h5: kspace is a link to .*{place}, which cannot be opened"
    assert_refused(raw, tmp_path, message)


def test_a_link_to_measurements_that_are_there_is_followed(raw, tmp_path):
    direct = run(raw, tmp_path / "direct").manifest.files

    def move(file):
        with h5py.File(raw / "other.h5", "w") as other:
            file.copy("kspace", other, "k")
        linked("kspace", h5py.ExternalLink("../other.h5", "/k"))(file)

    rewritten(raw, move)
    assert run(raw, tmp_path / "out").manifest.files == direct


def with_broken_chunk(file):
    """The array in packed chunks, one of them with other bytes."""
    content = file["kspace"][:]
    del file["kspace"]
    chunks = (1, *content.shape[1:])
    packed = file.create_dataset(
        "kspace", data=content, chunks=chunks, compression="gzip"
    )
    packed.id.write_direct_chunk((1, 0, 0), b"no gzip data")


def test_a_damaged_chunk_is_named_with_its_slice(raw, tmp_path):
    rewritten(raw, with_broken_chunk)
    assert_refused(raw, tmp_path, r"file2\.h5, slice 1: kspace cannot be read \(.*")


def as_group(file):
    del file["kspace"]
    file.create_group("kspace")


def as_empty(file):
    del file["kspace"]
    file["kspace"] = h5py.Empty(np.complex64)


def as_scalar(file):
    del file["kspace"]
    file["kspace"] = np.complex64(1)


def as_double(file):
    content = file["kspace"][:].astype(np.complex128)
    del file["kspace"]
    file["kspace"] = content


def as_text(file):
    del file["reconstruction_esc"]
    file["reconstruction_esc"] = "no image"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (as_group, "kspace is a group, not an array"),
        (as_empty, "kspace is empty"),
        (as_scalar, r"kspace has shape \(\)"),
        (as_double, "kspace is complex128, not complex64"),
        (as_text, "reconstruction_esc is object, not float32"),
    ],
)
def test_anything_but_the_official_arrays_is_refused(raw, tmp_path, change, message):
    rewritten(raw, change)
    assert_refused(raw, tmp_path, f"file2.h5: {message}")


def test_suffixes_in_capitals_are_read_too(raw, tmp_path):
    direct = run(raw, tmp_path / "direct").manifest.files
    (raw / VOLUME).rename(raw / VOLUME.replace(".h5", ".H5"))
    assert run(raw, tmp_path / "out").manifest.files == direct
