"""Preparing ogbg-molpcba: the shipped molecules, the official layout, bad raw files."""

import gzip
import hashlib
import os
import zipfile

import numpy as np
import pytest

from algoperf import downloads, registry
from algoperf.datasets.ogbg import prepare, reader, tables
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData

MINI = registry.definition("ogbg_mini").splits
SMALL = Splits(train=4, eval_train=2, validation=2, test=2)
NUM_NODES = [3, 1, 4, 2, 5, 2, 3, 2]
NUM_BONDS = [2, 0, 4, 1, 4, 1, 3, 1]
SPLIT_LISTS = {"train": [6, 0, 4, 2], "valid": [1, 7], "test": [3, 5]}
NODES, BONDS = "raw/node-feat.csv.gz", "raw/edge.csv.gz"
LABELS, NUM_NODES_NAME = "raw/graph-label.csv.gz", "raw/num-node-list.csv.gz"
TRAIN = "split/scaffold/train.csv.gz"


def column(values):
    return np.array(values)[:, np.newaxis]


def small_tables():
    """Eight graphs whose numbers tell them apart; the second has no bonds."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (8, 128)).astype(float)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    bonds = [
        rng.integers(0, n, (b, 2)) for n, b in zip(NUM_NODES, NUM_BONDS, strict=True)
    ]
    total = sum(NUM_NODES)
    return {
        NODES: np.arange(total * 9).reshape(total, 9) % 119,
        BONDS: np.concatenate(bonds),
        "raw/edge-feat.csv.gz": np.arange(sum(NUM_BONDS) * 3).reshape(-1, 3) % 7,
        NUM_NODES_NAME: column(NUM_NODES),
        "raw/num-edge-list.csv.gz": column(NUM_BONDS),
        LABELS: labels,
        **{f"split/scaffold/{s}.csv.gz": column(ids) for s, ids in SPLIT_LISTS.items()},
    }


@pytest.fixture
def raw(tmp_path):
    """The small graphs as OGB's unpacked folder."""
    for name, table in small_tables().items():
        path = tmp_path / "raw_files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tables.write(path, table)
    return tmp_path / "raw_files"


def run(raw, folder, splits=SMALL, subset=None):
    with Preparation(
        folder, dataset="ogbg", format_version=reader.FORMAT_VERSION, subset=subset
    ) as preparation:
        prepare.prepare(raw, preparation, splits=splits, subset=subset)
    return PreparedData.open(folder, dataset="ogbg", allow_partial=True, verify=True)


def zipped(raw, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in raw.rglob("*.gz"):
            archive.write(file, f"pcba/{file.relative_to(raw)}")


def rewrite(path, change):
    """Changes the unpacked text of a table."""
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


def test_the_shipped_molecules_are_prepared_by_the_same_code(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    data = run(tmp_path / "raw", tmp_path / "out", MINI)
    assert data.counts == {"train": 3200, "validation": 800, "test": 800}
    for split in reader.SPLITS:
        molecules = reader.read_split(data, split)
        assert molecules.num_nodes.max() <= 50
        assert 15 < molecules.num_nodes.mean() < 18
        share_missing = (molecules.labels == reader.MISSING).mean()
        assert share_missing == pytest.approx(0.1, abs=0.01)


def test_most_of_the_shipped_tasks_have_both_classes_in_every_split(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    data = run(tmp_path / "raw", tmp_path / "out", MINI)
    for split in reader.SPLITS:
        labels = reader.read_split(data, split).labels
        both = (labels == 0).any(axis=0) & (labels == 1).any(axis=0)
        assert both.sum() >= 110


def in_stored_order(split):
    """The graphs of a split, sorted by the hashes that tensorflow-datasets uses."""
    return sorted(
        SPLIT_LISTS[split],
        key=lambda graph: hashlib.md5(f"{split}{graph}".encode()).hexdigest(),
    )


def test_graphs_are_stored_in_the_order_of_tensorflow_datasets(raw, tmp_path):
    data = run(raw, tmp_path / "out")
    nodes, labels = small_tables()[NODES], small_tables()[LABELS]
    starts = np.cumsum([0, *NUM_NODES])
    molecules = reader.read_split(data, "train")
    for place, graph in enumerate(in_stored_order("train")):
        rows = slice(*molecules.node_offsets[place : place + 2])
        expected = nodes[starts[graph] : starts[graph + 1]]
        np.testing.assert_array_equal(molecules.nodes[rows], expected)
        stored = np.where(np.isnan(labels[graph]), reader.MISSING, labels[graph])
        np.testing.assert_array_equal(molecules.labels[place], stored)


def test_every_bond_is_an_edge_in_both_directions_forward_ones_first(raw, tmp_path):
    molecules = reader.read_split(run(raw, tmp_path / "out"), "test")
    bonds, starts = small_tables()[BONDS], np.cumsum([0, *NUM_BONDS])
    features = small_tables()["raw/edge-feat.csv.gz"]
    for place, graph in enumerate(in_stored_order("test")):
        edges = molecules.edges[slice(*molecules.edge_offsets[place : place + 2])]
        rows = slice(starts[graph], starts[graph + 1])
        s, r = bonds[rows].T
        np.testing.assert_array_equal(edges["sender"], [*s, *r])
        np.testing.assert_array_equal(edges["receiver"], [*r, *s])
        np.testing.assert_array_equal(
            edges["features"], np.tile(features[rows], (2, 1))
        )


def test_a_graph_without_bonds_is_kept(raw, tmp_path):
    molecules = reader.read_split(run(raw, tmp_path / "out"), "validation")
    assert molecules.num_nodes.tolist() == [2, 1]
    assert molecules.num_edges.tolist() == [2, 0]


def test_the_official_zip_file_gives_the_same_bytes_as_its_folder(raw, tmp_path):
    (tmp_path / "zip").mkdir()
    zipped(raw, tmp_path / "zip" / "pcba.zip")
    from_folder = run(raw, tmp_path / "a").manifest.files
    assert run(tmp_path / "zip", tmp_path / "b").manifest.files == from_folder


@pytest.mark.parametrize("name", ["pcba", "ogbg_molpcba"])
def test_the_folder_names_of_ogb_are_found(raw, tmp_path, name):
    raw.rename(tmp_path / name)
    assert run(tmp_path, tmp_path / "out").counts["train"] == 4


def test_extra_files_are_ignored(raw, tmp_path):
    (raw / "mapping").mkdir()
    (raw / "mapping" / "mol.csv.gz").write_bytes(b"anything")
    assert run(raw, tmp_path / "out").counts["train"] == 4


@pytest.mark.parametrize("missing", [b"", b"nan", b"NaN"])
def test_labels_may_be_floats_and_missing_ones_empty_or_nan(raw, tmp_path, missing):
    lines = [[b"1.0", b"0", missing] + [b"0.0"] * 125] * 8
    text = b"".join(b",".join(line) + b"\n" for line in lines)
    rewrite(raw / LABELS, lambda _: text)
    labels = reader.read_split(run(raw, tmp_path / "out"), "train").labels
    assert labels[0, :4].tolist() == [1, 0, reader.MISSING, 0]


def test_tables_longer_than_a_block_are_read_whole(raw, tmp_path, monkeypatch):
    whole = run(raw, tmp_path / "a").manifest.files
    monkeypatch.setattr(tables, "_BLOCK_BYTES", 37)
    assert run(raw, tmp_path / "b").manifest.files == whole


def test_windows_line_ends_and_a_missing_last_one_change_nothing(raw, tmp_path):
    plain = run(raw, tmp_path / "a").manifest.files
    rewrite(raw / NODES, lambda text: text.replace(b"\n", b"\r\n"))
    rewrite(raw / BONDS, lambda text: text.rstrip(b"\n"))
    assert run(raw, tmp_path / "b").manifest.files == plain


def test_a_subset_keeps_the_first_graphs_of_each_split(raw, tmp_path):
    data = run(raw, tmp_path / "out", subset=1)
    assert data.is_partial
    assert data.counts == {"train": 1, "validation": 1, "test": 1}
    assert reader.read_split(data, "train").num_nodes.tolist() == [NUM_NODES[6]]


def test_space_needed_suffices(raw, tmp_path):
    needed = prepare.space_needed(raw)
    files = run(raw, tmp_path / "out").manifest.files.values()
    assert sum(file.size_bytes for file in files) <= needed
    assert prepare.space_needed(None) == 400_000_000


def test_space_needed_suffices_for_the_shipped_molecules(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    files = run(tmp_path / "raw", tmp_path / "out", MINI).manifest.files.values()
    total = sum(file.size_bytes for file in files)
    assert total <= prepare.space_needed(tmp_path / "raw")


def test_a_killed_preparation_goes_on_with_the_next_part(raw, tmp_path, monkeypatch):
    save, saved = np.save, []

    def save_and_break(path, array):
        saved.append(path.name)
        if len(saved) == 4:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save(path, array)

    monkeypatch.setattr(np, "save", save_and_break)
    with pytest.raises(KeyboardInterrupt):
        run(raw, tmp_path / "out")
    broken = saved.pop()
    finished = {name: os.stat(tmp_path / "out" / name).st_mtime_ns for name in saved}
    assert not (tmp_path / "out" / broken).exists()

    monkeypatch.setattr(np, "save", save)
    resumed = run(raw, tmp_path / "out")
    for name, written in finished.items():
        assert resumed.path(name).stat().st_mtime_ns == written
    assert resumed.manifest == run(raw, tmp_path / "fresh").manifest


def assert_refused(raw, tmp_path, message, splits=SMALL):
    """One clear error, and nothing that could be taken for prepared data."""
    with pytest.raises(BadData, match=message):
        run(raw, tmp_path / "out", splits)
    with pytest.raises(BadData, match="not finished"):
        PreparedData.open(tmp_path / "out", dataset="ogbg")


def test_a_missing_folder_is_named(raw, tmp_path):
    assert_refused(raw / "nothing", tmp_path, "(?s)no folder .*nothing.*pcba.zip")


def test_a_folder_of_something_else_says_what_it_holds(tmp_path):
    (tmp_path / "raw_files").mkdir()
    (tmp_path / "raw_files" / "pcba.tar").write_bytes(b"")
    message = "neither pcba.zip nor .* It has: pcba.tar"
    assert_refused(tmp_path / "raw_files", tmp_path, message)


def test_a_missing_table_is_named(raw, tmp_path):
    (raw / BONDS).unlink()
    assert_refused(raw, tmp_path, f"no file .*{BONDS}")


def test_a_renamed_table_is_suggested(raw, tmp_path):
    (raw / NODES).rename(raw / "raw" / "node_feat.csv.gz")
    assert_refused(raw, tmp_path, "Did you mean 'raw/node_feat.csv.gz'")


def test_a_table_missing_from_the_zip_file_is_named(raw, tmp_path):
    (raw / LABELS).unlink()
    (tmp_path / "zip").mkdir()
    zipped(raw, tmp_path / "zip" / "pcba.zip")
    assert_refused(tmp_path / "zip", tmp_path, f"no file .*pcba.zip/pcba/{LABELS}")


def test_a_truncated_table_is_named(raw, tmp_path):
    (raw / NODES).write_bytes((raw / NODES).read_bytes()[:-20])
    assert_refused(raw, tmp_path, f"{NODES} is cut off")


def test_a_corrupt_table_is_named(raw, tmp_path):
    content = bytearray((raw / NODES).read_bytes())
    content[-8] ^= 0xFF  # in the checksum
    (raw / NODES).write_bytes(content)
    assert_refused(raw, tmp_path, f"{NODES} is damaged")


def test_a_table_that_is_no_gzip_file_is_named(raw, tmp_path):
    (raw / NODES).write_text("<html>moved</html>")
    assert_refused(raw, tmp_path, f"{NODES} is damaged .*Not a gzipped file")


def test_a_truncated_zip_file_is_named(raw, tmp_path):
    (tmp_path / "zip").mkdir()
    path = tmp_path / "zip" / "pcba.zip"
    zipped(raw, path)
    path.write_bytes(path.read_bytes()[:-100])
    assert_refused(tmp_path / "zip", tmp_path, "pcba.zip is cut off or damaged")


def test_an_empty_table_is_named(raw, tmp_path):
    rewrite(raw / NODES, lambda _: b"")
    assert_refused(raw, tmp_path, f"{NODES} is empty")


def test_a_row_with_too_few_columns_is_shown(raw, tmp_path):
    rewrite(raw / NODES, lambda text: text.replace(b",", b"", 1))
    assert_refused(raw, tmp_path, f"{NODES}, row 1 has 8 columns; 9 are expected")


def test_two_bad_rows_that_make_up_for_each_other_are_still_found(raw, tmp_path):
    def move_a_cell(text):
        first, second, rest = text.split(b"\n", 2)
        return first.rpartition(b",")[0] + b"\n1," + second + b"\n" + rest

    rewrite(raw / NODES, move_a_cell)
    assert_refused(raw, tmp_path, f"{NODES}, row 1 has 8 columns")


@pytest.mark.parametrize("cell", ["x", "-1", "1.5", "", "256", "9" * 12])
def test_a_feature_that_is_no_small_integer_is_shown(raw, tmp_path, cell):
    rewrite(
        raw / NODES, lambda text: b"0," + cell.encode() + text[text.index(b",", 2) :]
    )
    message = f"{NODES}, row 1, column 2: '{cell}'; expected are integers from 0 to 255"
    assert_refused(raw, tmp_path, message)


@pytest.mark.parametrize("cell", ["2", "0.5", "10", "nab", "-1", "1e0"])
def test_a_label_that_is_neither_0_nor_1_is_shown(raw, tmp_path, cell):
    row = cell + ",0" * 127 + "\n"
    rewrite(raw / LABELS, lambda text: text + row.encode())
    assert_refused(raw, tmp_path, f"{LABELS}, row 9, column 1: '{cell}'")


def test_node_counts_that_do_not_add_up_are_refused(raw, tmp_path):
    tables.write(raw / NUM_NODES_NAME, column([4, *NUM_NODES[1:]]))
    assert_refused(raw, tmp_path, f"{NODES} has 22 rows; 23 are expected")


def test_labels_of_fewer_graphs_are_refused(raw, tmp_path):
    tables.write(raw / LABELS, small_tables()[LABELS][:-1])
    assert_refused(raw, tmp_path, f"{LABELS} has 7 rows; 8 are expected")


def test_a_bond_to_a_node_outside_its_graph_is_shown(raw, tmp_path):
    bonds = small_tables()[BONDS]
    bonds[1] = [0, 3]
    tables.write(raw / BONDS, bonds)
    assert_refused(raw, tmp_path, "row 2 joins nodes 0 and 3 of a graph with 3 nodes")


def test_a_split_of_another_size_is_refused(raw, tmp_path):
    splits = Splits(train=5, eval_train=2, validation=2, test=2)
    assert_refused(raw, tmp_path, "lists 4 graphs; 5 are expected", splits)


def test_a_graph_in_two_splits_is_refused(raw, tmp_path):
    tables.write(raw / "split/scaffold/test.csv.gz", column([3, 6]))
    assert_refused(raw, tmp_path, "row 2 names graph 6, which was listed before")


def test_a_graph_twice_in_one_split_is_refused(raw, tmp_path):
    tables.write(raw / TRAIN, column([6, 0, 6, 2]))
    assert_refused(raw, tmp_path, f"{TRAIN}, row 3 names graph 6, which was listed")


def test_a_split_that_names_an_unknown_graph_is_refused(raw, tmp_path):
    tables.write(raw / TRAIN, column([6, 0, 8, 2]))
    assert_refused(raw, tmp_path, f"{TRAIN}, row 3 names graph 8; there are 8")


def test_the_shipped_molecules_are_not_taken_for_the_full_data_set(tmp_path):
    prepare.expand_embedded(tmp_path / "raw")
    full = registry.definition("ogbg").splits
    message = "lists 3,200 graphs; 350,343 are expected"
    assert_refused(tmp_path / "raw", tmp_path, message, full)


def test_a_resumed_preparation_with_other_raw_files_is_refused(raw, tmp_path):
    content = (raw / NODES).read_bytes()
    (raw / NODES).write_bytes(content[:-20])
    with pytest.raises(BadData, match="cut off"):
        run(raw, tmp_path / "out")
    (raw / NODES).write_bytes(content)
    with pytest.raises(BadData, match=r"other input \(different: raw_bytes\)"):
        run(raw, tmp_path / "out")


def test_the_download_is_the_official_zip_file(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        downloads, "fetch", lambda url, path, **_: fetched.append((url, path))
    )
    prepare.download(tmp_path)
    ((url, path),) = fetched
    assert url.startswith("https://snap.stanford.edu/ogb/")
    assert path == tmp_path / "pcba.zip"


def test_prepared_files_that_do_not_hold_the_promised_graphs_are_refused(raw, tmp_path):
    done = run(raw, tmp_path / "out")
    with Preparation(tmp_path / "other", dataset="ogbg", format_version=1) as other:
        for name in done.manifest.files:
            with other.part(name) as path:
                path.write_bytes(done.path(name).read_bytes())
        other.finish({"train": 5, "validation": 2, "test": 2}, facts={})
    data = PreparedData.open(tmp_path / "other", dataset="ogbg")
    with pytest.raises(BadData, match="do not hold the 5 graphs"):
        reader.read_split(data, "train")


def test_a_value_outside_a_vocabulary_gets_the_index_behind_it():
    pytest.importorskip("rdkit")
    from algoperf.datasets.ogbg import make_embedded

    names = make_embedded._BOND_TYPE
    assert make_embedded._index("TRIPLE", names) == 2
    assert make_embedded._index("DATIVE", names) == len(names)


def test_atoms_have_the_features_of_ogb():
    pytest.importorskip("rdkit")
    from rdkit import Chem

    from algoperf.datasets.ogbg import make_embedded

    # Computed by hand from OGB's vocabularies: methyl carbon, carbonyl carbon, and
    # oxygen of acetaldehyde.
    molecule = Chem.MolFromSmiles("CC=O")
    assert [make_embedded.atom_features(atom) for atom in molecule.GetAtoms()] == [
        [5, 0, 4, 5, 3, 0, 2, 0, 0],
        [5, 0, 3, 5, 1, 0, 1, 0, 0],
        [7, 0, 1, 5, 0, 0, 1, 0, 0],
    ]
    bonds = [make_embedded.bond_features(bond) for bond in molecule.GetBonds()]
    assert bonds == [[0, 0, 0], [1, 0, 0]]


def unpack_tables(folder, names=None):
    """Unpacks tables in place, as people do who look into them."""
    for path in list(folder.rglob("*.gz")):
        if names is None or path.name in names:
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()


@pytest.mark.parametrize("names", [None, {"edge.csv.gz", "train.csv.gz"}])
def test_tables_that_are_unpacked_already_are_read(raw, tmp_path, names):
    packed = run(raw, tmp_path / "packed").manifest.files
    unpack_tables(raw, names)
    assert prepare.space_needed(raw) > 0
    assert run(raw, tmp_path / "out").manifest.files == packed


def test_tables_that_are_unpacked_in_a_zip_file_are_read(raw, tmp_path):
    packed = run(raw, tmp_path / "packed").manifest.files
    unpack_tables(raw)
    (tmp_path / "zip").mkdir()
    with zipfile.ZipFile(tmp_path / "zip" / "pcba.zip", "w") as archive:
        for file in raw.rglob("*.csv"):
            archive.write(file, f"pcba/{file.relative_to(raw)}")
            archive.writestr(f"__MACOSX/pcba/{file.relative_to(raw)}", b"litter")
    assert run(tmp_path / "zip", tmp_path / "out").manifest.files == packed


def test_marks_and_line_ends_of_windows_are_read(raw, tmp_path):
    direct = run(raw, tmp_path / "direct").manifest.files
    for path in raw.rglob("*.gz"):
        text = gzip.decompress(path.read_bytes()).replace(b"\n", b"\r\n")
        path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.removesuffix(b"\r\n")))
    assert run(raw, tmp_path / "out").manifest.files == direct


def test_a_table_that_unpacks_without_end_is_refused(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MAX_TABLE_BYTES", 1_000_000)
    rows = b"1,2\n" * 1_500_000  # a few kilobytes when packed
    (raw / BONDS).write_bytes(gzip.compress(rows))
    with pytest.raises(BadData, match=r"edge\.csv\.gz is no table of molecules"):
        run(raw, tmp_path / "out")


def test_a_table_without_line_ends_is_refused(raw, tmp_path):
    (raw / BONDS).write_bytes(gzip.compress(b"1" * 10_000_000))
    with pytest.raises(BadData, match=r"edge\.csv\.gz is no table of molecules"):
        run(raw, tmp_path / "out")


def with_flag(path, mask):
    """Sets a flag of every file in a zip file, in both of its headers."""
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + at] |= mask
            place = content.find(mark, place + 4)
    path.write_bytes(content)


def test_a_zip_file_with_a_password_is_refused(raw, tmp_path):
    (tmp_path / "zip").mkdir()
    zipped(raw, tmp_path / "zip" / "pcba.zip")
    with_flag(tmp_path / "zip" / "pcba.zip", 1)
    with pytest.raises(BadData, match=r"pcba\.zip.*(encrypted|password)"):
        run(tmp_path / "zip", tmp_path / "out")
