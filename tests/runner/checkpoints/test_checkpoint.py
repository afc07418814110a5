import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from algoperf.errors import BadCheckpoint
from algoperf.runner.checkpoints import files as checkpoint
from algoperf.runner.checkpoints.files import Checkpoint

safetensors = pytest.importorskip("safetensors")
ml_dtypes = pytest.importorskip("ml_dtypes")

IDENTITY = {"framework": "jax", "ruleset": "paper", "hyperparameters": {"rate": 0.1}}
ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "float64": np.array([0.1, np.nan, np.inf]),
    "float16": np.array([1.5], np.float16),
    "bfloat16": np.arange(6).reshape(3, 2).astype(ml_dtypes.bfloat16),
    "bfloat16 scalar": np.array(1.5, ml_dtypes.bfloat16),
    "float8": np.array([0.5, 2.0], ml_dtypes.float8_e4m3fn),
    "bool": np.array([True, False, True]),
    "uint64": np.array([2**64 - 1, 0], np.uint64),
    "int64 scalar": np.array(-3),
    "bool scalar": np.array(True),
    "complex64": np.array([[1 + 2j]], np.complex64),
    "complex128": np.array([1 - 2j, 0.1j]),
    "empty": np.zeros((0, 3), np.float32),
    "empty bfloat16": np.zeros((2, 0), ml_dtypes.bfloat16),
    "transposed": np.arange(6.0).reshape(2, 3).T,
}


def at(step: int, **changes) -> Checkpoint:
    values = {
        "step": step,
        "arrays": {"weight": np.full(3, step, np.float32)},
        "rest": {"position": 10 * step, "eval_results": [[step, {"loss": 0.5}]]},
        "identity": IDENTITY,
    }
    return Checkpoint(**{**values, **changes})


def load(folder, identity=IDENTITY) -> tuple[Checkpoint | None, list[str]]:
    warnings: list[str] = []
    return checkpoint.load_latest(folder, identity, warnings.append), warnings


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip_a_byte(path, position: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_bit_for_bit(tmp_path, name):
    array = ARRAYS[name]
    checkpoint.save(tmp_path, at(1, arrays={name: array}))
    loaded, _ = load(tmp_path)
    restored = loaded.arrays[name]
    assert (restored.shape, restored.dtype) == (array.shape, array.dtype)
    assert restored.tobytes() == array.tobytes()


def test_the_rest_of_the_state_comes_back(tmp_path):
    rest = {"position": 7, "seconds": {"submission": 0.1 + 0.2}, "none": None}
    checkpoint.save(tmp_path, at(1, rest=rest))
    loaded, warnings = load(tmp_path)
    assert (loaded.step, loaded.rest, warnings) == (1, rest, [])


def test_metrics_that_are_not_numbers_come_back(tmp_path):
    checkpoint.save(tmp_path, at(1, rest={"loss": float("nan"), "best": float("inf")}))
    loaded, _ = load(tmp_path)
    assert np.isnan(loaded.rest["loss"]) and loaded.rest["best"] == float("inf")


def test_a_state_without_arrays_can_be_saved(tmp_path):
    checkpoint.save(tmp_path, at(1, arrays={}))
    assert load(tmp_path)[0].arrays == {}


def test_the_newest_checkpoint_is_loaded(tmp_path):
    for step in (9, 10, 11):  # not in the order of their names
        checkpoint.save(tmp_path, at(step))
    assert load(tmp_path)[0].step == 11


def test_no_checkpoint_is_none(tmp_path):
    assert load(tmp_path / "none") == (None, [])


def test_the_newest_two_are_kept(tmp_path):
    for step in (1, 20, 300):
        checkpoint.save(tmp_path, at(step))
    assert names(tmp_path) == ["ckpt-20", "ckpt-300"]


def test_a_step_can_be_saved_again(tmp_path):
    checkpoint.save(tmp_path, at(1))
    checkpoint.save(tmp_path, at(1, rest={"position": 99}))
    assert load(tmp_path)[0].rest == {"position": 99}


def damage_arrays(folder):
    flip_a_byte(folder / "arrays.safetensors")


def damage_header(folder):
    flip_a_byte(folder / "arrays.safetensors", 0)


def cut_arrays(folder):
    path = folder / "arrays.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def remove_arrays(folder):
    (folder / "arrays.safetensors").unlink()


def remove_meta(folder):
    (folder / "meta.json").unlink()


def cut_meta(folder):
    path = folder / "meta.json"
    path.write_text(path.read_text()[:-20])


def empty_meta(folder):
    (folder / "meta.json").write_text("")


def replace_meta(folder):
    (folder / "meta.json").write_text("[]")


def forget_a_key(folder):
    path = folder / "meta.json"
    path.write_text(path.read_text().replace('"identity"', '"identities"'))


def change_a_digit(folder):
    path = folder / "meta.json"
    path.write_text(path.read_text().replace('"position": 20', '"position": 70'))


def change_a_dtype(folder):
    path = folder / "meta.json"
    path.write_text(path.read_text().replace("float32", "flxat32"))


DAMAGES = [
    damage_arrays,
    damage_header,
    cut_arrays,
    remove_arrays,
    remove_meta,
    cut_meta,
    empty_meta,
    replace_meta,
    forget_a_key,
    change_a_digit,
    change_a_dtype,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    checkpoint.save(tmp_path, at(1))
    damage(checkpoint.save(tmp_path, at(2)))
    loaded, warnings = load(tmp_path)
    assert loaded.step == 1
    (warning,) = warnings
    assert "ckpt-2" in warning and "damaged" in warning


def test_nothing_is_loaded_when_all_checkpoints_are_damaged(tmp_path):
    for step in (1, 2):
        damage_arrays(checkpoint.save(tmp_path, at(step)))
    loaded, warnings = load(tmp_path)
    assert loaded is None
    assert len(warnings) == 2


def test_damaged_checkpoints_of_later_steps_do_not_displace_new_ones(tmp_path):
    for step in (20, 30):
        damage_arrays(checkpoint.save(tmp_path, at(step)))
    load(tmp_path)
    for step in (5, 10):
        checkpoint.save(tmp_path, at(step))
    assert load(tmp_path)[0].step == 10
    damage_arrays(tmp_path / "ckpt-10")
    assert load(tmp_path)[0].step == 5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("framework", "pytorch"),
        ("ruleset", "v0.6"),
        ("hyperparameters", {"rate": 0.2}),
        ("submission code", "abc"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_what_differs(tmp_path, key, value):
    checkpoint.save(tmp_path, at(1))
    with pytest.raises(BadCheckpoint) as caught:
        load(tmp_path, {**IDENTITY, key: value})
    text = str(caught.value)
    assert f"its {key} is {IDENTITY.get(key)!r}, this run's is {value!r}" in text
    assert "--overwrite" in text


def test_a_checkpoint_of_another_run_is_not_passed_over_for_an_older_one(tmp_path):
    checkpoint.save(tmp_path, at(1))
    checkpoint.save(tmp_path, at(2, identity={**IDENTITY, "ruleset": "v0.6"}))
    with pytest.raises(BadCheckpoint, match=r"ckpt-2 .*ruleset is 'v0\.6'"):
        load(tmp_path)


def rewritten(folder, **changes):
    """A checkpoint whose checksums are right and whose contents are others."""
    path = folder / "meta.json"
    state = {**json.loads(path.read_text())["state"], **changes}
    state = {key: value for key, value in state.items() if value is not None}
    sha256 = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    path.write_text(json.dumps({"sha256": sha256, "state": state}))


@pytest.mark.parametrize(
    ("number", "age"), [(None, "older"), (1, "older"), (99, "newer")]
)
def test_a_checkpoint_in_another_format_is_refused(tmp_path, number, age):
    checkpoint.save(tmp_path, at(1))
    rewritten(checkpoint.save(tmp_path, at(2)), format=number)
    with pytest.raises(BadCheckpoint, match=f"ckpt-2 was written by an {age}|a {age}"):
        load(tmp_path)


def test_a_copy_under_another_steps_name_is_passed_over(tmp_path):
    shutil.copytree(checkpoint.save(tmp_path, at(1)), tmp_path / "ckpt-9")
    loaded, (warning,) = load(tmp_path)
    assert loaded.step == 1
    assert "ckpt-9 is damaged (meta.json is of step 1)" in warning


def test_a_checkpoint_tells_where_it_was_read(tmp_path):
    path = checkpoint.save(tmp_path, at(1))
    assert load(tmp_path)[0].path == path


def deny(*_, **__):
    raise PermissionError(13, "Permission denied", "meta.json")


def test_a_checkpoint_that_cannot_be_read_falls_back_and_says_why(
    tmp_path, monkeypatch
):
    checkpoint.save(tmp_path, at(1))
    checkpoint.save(tmp_path, at(2))
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, *a: deny() if "ckpt-2" in str(path) else read(path, *a),
    )
    loaded, (warning,) = load(tmp_path)
    assert loaded.step == 1
    assert (
        "ckpt-2 cannot be read ([Errno 13] Permission denied: 'meta.json')" in warning
    )


def test_a_folder_that_cannot_be_read_is_refused_not_taken_for_empty(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("os.listdir", deny)
    with pytest.raises(
        BadCheckpoint, match=f"{tmp_path} cannot be read: Permission den"
    ):
        load(tmp_path)


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(BadCheckpoint, match="checkpoints cannot be read: Not a dir"):
        load(tmp_path / "checkpoints")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_byte_of_the_json_is_damaged_the_one_before_is_used(data):
    with tempfile.TemporaryDirectory() as name:
        checkpoint.save(Path(name), at(1))
        path = checkpoint.save(Path(name), at(2)) / "meta.json"
        content = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.integers(1, 255))
        # White space instead of white space is the same JSON.
        assume(content[position] != ord(" ") or not chr(change ^ 0x20).isspace())
        content[position] ^= change
        path.write_bytes(content)
        loaded, warnings = load(Path(name))
        assert loaded.step == 1
        assert len(warnings) == 1 and "ckpt-2" in warnings[0]


def test_json_that_is_nested_without_end_is_damage(tmp_path):
    checkpoint.save(tmp_path, at(1))
    (checkpoint.save(tmp_path, at(2)) / "meta.json").write_text("[" * 100_000)
    assert load(tmp_path)[0].step == 1


def test_leftovers_of_a_killed_write_are_swept(tmp_path):
    checkpoint.save(tmp_path, at(1))
    leftover = tmp_path / ".writing-2"
    leftover.mkdir()
    (leftover / "arrays.safetensors").write_bytes(b"half")
    assert load(tmp_path)[0].step == 1
    assert names(tmp_path) == ["ckpt-1"]


def test_a_leftover_does_not_hinder_writing_the_same_step(tmp_path):
    (tmp_path / ".writing-2").mkdir()
    (tmp_path / ".writing-2" / "foreign").write_text("half")
    path = checkpoint.save(tmp_path, at(2))
    assert names(path) == ["arrays.safetensors", "meta.json"]


def test_another_process_may_sweep_the_same_leftovers(tmp_path, monkeypatch):
    (tmp_path / ".writing-2").mkdir()
    rmtree = shutil.rmtree

    def sweep_after_another(path, *args, **kwargs):
        rmtree(path)
        rmtree(path, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", sweep_after_another)
    assert load(tmp_path) == (None, [])


def fail(*_, **__):
    raise OSError(28, "No space left on device")


def fail_as_safetensors_does(*_, **__):
    raise safetensors.SafetensorError(
        "Error while serializing: I/O error: No space left on device"
    )


@pytest.mark.parametrize(
    ("target", "failure"),
    [
        ("safetensors.numpy.save_file", fail),
        ("safetensors.numpy.save_file", fail_as_safetensors_does),
        ("pathlib.Path.write_text", fail),
        ("pathlib.Path.mkdir", fail),
        ("pathlib.Path.rename", fail),
        ("os.fsync", fail),
    ],
)
def test_a_write_that_fails_leaves_earlier_ones(tmp_path, monkeypatch, target, failure):
    for step in (1, 2):
        checkpoint.save(tmp_path, at(step))
    with monkeypatch.context() as patch:
        patch.setattr(target, failure)
        with pytest.raises(BadCheckpoint, match="No space left on device") as caught:
            checkpoint.save(tmp_path, at(3))
    assert "--resume" in str(caught.value)
    assert load(tmp_path)[0].step == 2
    assert names(tmp_path) == ["ckpt-1", "ckpt-2"]


SAVE_WITH_LITTLE_SPACE = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from algoperf.errors import BadCheckpoint
from algoperf.runner.checkpoints.files import Checkpoint, save
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
try:
    save(Path(sys.argv[1]), Checkpoint(2, {"weight": np.zeros(10_000)}, {}, {}))
except BadCheckpoint as error:
    sys.exit(str(error))
"""


def test_a_write_that_the_system_cuts_short_leaves_earlier_ones(tmp_path):
    """The system refuses files of more than 1,000 bytes, as a full disk would."""
    checkpoint.save(tmp_path, at(1))
    result = subprocess.run(
        [sys.executable, "-c", SAVE_WITH_LITTLE_SPACE, tmp_path],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"Could not write {tmp_path / 'ckpt-2'}: ")
    assert "Traceback" not in result.stderr
    assert load(tmp_path)[0].step == 1
