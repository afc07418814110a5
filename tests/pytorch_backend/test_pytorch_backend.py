"""The backend itself: placing, waiting, keys, finiteness, settings."""

import collections
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import ml_dtypes  # noqa: E402

from algoperf import backend as backends  # noqa: E402
from algoperf import registry  # noqa: E402
from algoperf.errors import BadSettings  # noqa: E402
from algoperf.pytorch_backend import devices, distributed, make_backend  # noqa: E402
from algoperf.pytorch_utils import pytorch_setup  # noqa: E402
from tests.pytorch_backend import tiny_pytorch_model as tiny_model  # noqa: E402

Graph = collections.namedtuple("Graph", "nodes edges")
CPU = torch.device("cpu")


@pytest.fixture
def backend():
    return make_backend()


@pytest.fixture
def place():
    return devices.Placer(CPU)


def test_the_backend_is_loaded_by_name():
    assert backends.load("pytorch").name == "pytorch"


def test_one_process_is_one_device(backend):
    assert (backend.rank, backend.num_processes, backend.num_devices) == (0, 1, 1)


def test_an_unknown_precision_is_an_error_that_suggests_one():
    with pytest.raises(BadSettings, match="bf16"):
        make_backend(precision="bf-16")


def test_devices_are_described_with_what_changes_results(backend):
    facts = backend.describe_devices()
    assert facts["num_devices"] == 1
    assert facts["precision"] == "float32"
    assert facts["tf32"] is False
    assert facts["versions"]["torch"] == torch.__version__


def gpus(monkeypatch, count):
    """A machine that seems to have so many GPUs."""
    properties = types.SimpleNamespace(name="GPU", total_memory=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))


def test_unused_gpus_are_warned_about(monkeypatch):
    gpus(monkeypatch, 4)
    facts = devices.describe(torch.device("cuda", 0), distributed.Rank())
    assert "GPU 0 of 4" in facts["warnings"][0]
    assert "torchrun --nproc_per_node=4" in facts["warnings"][0]


def test_no_warning_where_every_gpu_has_a_process(monkeypatch):
    gpus(monkeypatch, 4)
    rank = distributed.Rank(1, 1, 4)
    facts = devices.describe(torch.device("cuda", 1), rank)
    assert facts["warnings"] == []
    assert facts["tf32"] is True


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    gpus(monkeypatch, 2)
    with pytest.raises(BadSettings, match="nproc_per_node=2"):
        distributed.device_of(distributed.Rank(2, 2, 3))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, distributed.Rank(0, 0, 1)),
        (
            {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
            distributed.Rank(0, 0, 1),
        ),
        (
            {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"},
            distributed.Rank(5, 1, 8),
        ),
    ],
)
def test_the_rank_is_read_from_torchruns_variables(environment, expected):
    assert distributed.rank_from(environment) == expected


def test_half_of_torchruns_variables_is_an_error_that_names_the_rest():
    with pytest.raises(BadSettings, match="LOCAL_RANK, RANK"):
        distributed.rank_from({"WORLD_SIZE": "2"})


def test_pytorch_setup_reads_the_environment_and_starts_no_group(monkeypatch):
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert pytorch_setup() == (True, 1, CPU, 2)
    assert not torch.distributed.is_initialized()


def test_pytorch_setup_without_torchrun_is_one_device():
    assert pytorch_setup() == (False, 0, CPU, 1)


def test_keys_are_int64_pairs_of_the_same_numbers(backend):
    numbers = np.array([[0, 1], [2**32 - 1, 5]], np.uint32)
    keys = backend.keys(numbers)
    assert [key.tolist() for key in keys] == [[0, 1], [2**32 - 1, 5]]
    assert keys[1].dtype == np.int64
    assert keys[1].shape == (2,)


def test_placing_on_the_cpu_shares_memory(backend):
    array = np.zeros(3, np.float32)
    tensor = backend.place({"inputs": array})["inputs"]
    array[0] = 7
    assert tensor[0] == 7


def test_placing_copies_read_only_arrays(place):
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    tensor = place({"inputs": array})["inputs"]
    tensor[0] = 7
    assert array[0] == 0


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0)[::-1],
        np.arange(6).reshape(2, 3).T,
        np.arange(3, dtype=">i4"),
        np.array([True, False]),
        np.zeros((0, 2), np.int64),
        np.array(3.0),
    ],
)
def test_placing_keeps_values_shape_and_kind(place, array):
    tensor = place({"x": array})["x"]
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert tensor.numpy().dtype.kind == array.dtype.kind


def test_placing_keeps_nesting(place):
    graph = Graph(np.zeros(2), (np.ones(1), [np.ones(3)]))
    placed = place({"graph": graph, "name": "x"})
    assert isinstance(placed["graph"], Graph)
    assert placed["graph"].edges[1][0].shape == (3,)
    assert placed["name"] == "x"


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (ml_dtypes.bfloat16, torch.bfloat16),
        (ml_dtypes.float8_e4m3fn, torch.float8_e4m3fn),
    ],
)
def test_small_floats_go_to_tensors_and_back(dtype, expected):
    array = np.array([1.0, -0.5, 2.0]).astype(dtype)
    tensor = devices.to_tensor(array)
    assert tensor.dtype == expected
    assert devices.to_numpy(tensor).dtype == dtype
    np.testing.assert_array_equal(devices.to_numpy(tensor), array)


def test_synchronize_waits_for_the_accelerator(backend):
    waits = []
    backend.accelerator = types.SimpleNamespace(synchronize=lambda: waits.append(1))
    backend.synchronize({"any": "tree"})
    assert waits == [1]


def test_all_gpus_that_were_touched_are_waited_for(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    monkeypatch.setattr(
        torch._C, "_cuda_hasPrimaryContext", lambda index: index != 1, raising=False
    )
    devices.Cuda().synchronize()
    assert waits == [0, 2]


def test_messages_of_one_process_are_the_identity(backend):
    assert backend.processes.all_reduce_max([1.5, 2.0]) == [1.5, 2.0]
    assert backend.processes.gather("it") == ["it"]
    assert backend.processes.broadcast("it") == "it"
    backend.processes.barrier()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("position", [0, 4])
def test_one_bad_parameter_is_found(backend, value, position):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    with torch.no_grad():
        module[1].weight.view(-1)[position % 4] = value
    assert not backend.is_finite(module)


def test_huge_parameters_are_finite(backend):
    assert backend.is_finite({"a": [torch.full((4,), 3e38), torch.zeros(2)]})


def test_losses_are_float32_inside_a_submissions_autocast(backend):
    model = tiny_model.bound(backend=backend)
    logits, labels = torch.randn(4, 3), torch.randint(3, (4,))
    plain = model.loss(labels, logits, None, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        cast = model.loss(labels, logits, None, 0.0)
    assert torch.equal(plain["per_example"], cast["per_example"])


@pytest.mark.parametrize("name", ["imagenet_resnet", "librispeech_conformer"])
def test_a_workload_says_whether_cudnn_tries_its_algorithms(monkeypatch, name):
    is_tried = name == "imagenet_resnet"
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not is_tried)
    definition = registry.definition(name)
    devices.set_up_convolutions(torch.device("cpu"), definition)
    assert torch.backends.cudnn.benchmark is not is_tried
    devices.set_up_convolutions(torch.device("cuda"), definition)
    assert torch.backends.cudnn.benchmark is is_tried
