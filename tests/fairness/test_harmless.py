"""What honest submissions and the packages that they import do to a process breaks no rule."""

import gc
import os
import sys
import types

import pytest
from test_framework_cheats import changed

from algoperf import backend as backends
from algoperf.runner.fairness import environment
from algoperf.runner.fairness.guards import Guards
from algoperf.runner.fairness.packages import is_function_of_package

HARMLESS_VARIABLES = [
    "TOKENIZERS_PARALLELISM",
    "WANDB_MODE",
    "WANDB_SILENT",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTHONHASHSEED",
    "TF_CPP_MIN_LOG_LEVEL",
    "TF_ENABLE_ONEDNN_OPTS",
    "TPU_SKIP_MDS_QUERY",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "JAX_PLATFORMS",
    "JAX_TRACEBACK_FILTERING",
    "TORCH_LOGS",
    "TORCHDYNAMO_VERBOSE",
    "TORCHINDUCTOR_MAX_AUTOTUNE",
    "TORCHINDUCTOR_CACHE_DIR",  # PyTorch sets it where nobody has
    "NCCL_DEBUG",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "KMP_DUPLICATE_LIB_OK",
    "LD_LIBRARY_PATH",  # OpenCV adds to it
    "HF_HUB_OFFLINE",
    "MPLBACKEND",
    "KERAS_BACKEND",
    "NUMEXPR_MAX_THREADS",
    "MY_OWN_FLAG",
]


@pytest.mark.parametrize("name", HARMLESS_VARIABLES)
def test_a_variable_that_changes_no_evaluation_may_be_set(name, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    guards = Guards()
    monkeypatch.setenv(name, "1")
    assert guards.find() == []


PROTECTED_VARIABLES = [
    "XLA_FLAGS",
    "PATH",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "CUDA_VISIBLE_DEVICES",
    "ALGOPERF_DATA_DIR",
    "LD_PRELOAD",
    "PYTHONPATH",
    "RANK",
]


@pytest.mark.parametrize("name", PROTECTED_VARIABLES)
def test_a_variable_that_could_change_an_evaluation_may_not(name, monkeypatch):
    guards = Guards()
    monkeypatch.setenv(name, "something else")
    assert guards.find() == [f"environment variable {name} was changed"]


@pytest.mark.parametrize("name", ["TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"])
def test_the_folder_of_compiled_programs_stays_where_the_harness_has_put_it(
    name, monkeypatch
):
    monkeypatch.setenv(name, "/trial")
    guards = Guards()
    monkeypatch.setenv(name, "/elsewhere")
    assert guards.find() == [f"environment variable {name} was changed"]


def test_the_other_framework_leaves_the_gpu_to_the_one_that_trains(toy):
    variables = environment.for_trial("pytorch")
    assert variables["JAX_PLATFORMS"] == "cpu"
    assert variables["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert not any(map(environment.is_protected, variables))
    assert environment.for_trial("toy") == {}


# What packages leave behind


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Imports an installed package with some code in it."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    callbacks = list(gc.callbacks)
    number = iter(range(100))

    def make(code):
        name = f"installed_{os.getpid()}_{next(number)}"
        (folder / f"{name}.py").write_text(code)
        return __import__(name)

    yield make
    gc.callbacks[:] = callbacks
    for name in [n for n in sys.modules if n.startswith(f"installed_{os.getpid()}")]:
        del sys.modules[name]


LEFT_BY_PACKAGES = {
    "a callback of the garbage collector": "import gc\ndef clean(*args): pass\n"
    "gc.callbacks.append(clean)",
    "one that comes first": "import gc\ndef clean(*args): pass\ngc.callbacks.insert(0, clean)",
    "variables": "import os\nos.environ['THE_PACKAGE_IS_THERE'] = '1'",
    "a function at exit": "import atexit\natexit.register(print)",
    "a handler of messages": "import logging\nlogging.getLogger('x').addHandler("
    "logging.NullHandler())",
    "a filter of warnings": "import warnings\nwarnings.filterwarnings('ignore', 'no such')",
    "a pool without work": "from concurrent.futures import ThreadPoolExecutor\n"
    "pool = ThreadPoolExecutor(1)",
    "a lock": "import threading\nlock = threading.RLock()",
    "a class for copying": "import copyreg\nclass A: pass\ncopyreg.pickle(A, repr)",
    "a signal's wake-up": "import signal\nsignal.set_wakeup_fd(-1)",
}


@pytest.mark.parametrize("what", LEFT_BY_PACKAGES)
def test_what_an_installed_package_does_at_import_is_not_the_submissions_act(
    what, package
):
    guards = Guards()
    package(LEFT_BY_PACKAGES[what])
    assert guards.find() == []


LAUNDERED = {
    "a closure": "def make(f):\n    def call(*a): f()\n    return call",
    "a default": "def make(f):\n    def call(*a, f=f): f()\n    return call",
    "a method": "class A:\n    def __init__(s, f): s.f = f\n    def g(s, *a): s.f()\n"
    "def make(f): return A(f).g",
    "a partial": "import functools\ndef make(f): return functools.partial(f)",
    "a function of another dict": "def g(*a): work()\nimport types\n"
    "def make(f): return types.FunctionType(g.__code__, {'work': f})",
}


@pytest.mark.parametrize("what", LAUNDERED)
def test_a_package_cannot_lend_its_name_to_a_submissions_function(what, package):
    made = package(LAUNDERED[what]).make(lambda *a: None)
    guards = Guards()
    gc.callbacks.append(made)
    assert not is_function_of_package(made)
    assert guards.find() == ["gc.callbacks[0] was added"]


def test_a_submissions_own_callback_is_found_between_those_of_packages(package):
    guards = Guards()
    package("import gc\ndef clean(*args): pass\ngc.callbacks.append(clean)")
    gc.callbacks.append(lambda *a: None)
    assert guards.find() == ["gc.callbacks[0] was added"]


# Settings of Python and the frameworks


def test_settings_of_python_and_numpy_may_be_set():
    import logging
    import random
    import warnings

    import numpy as np

    guards = Guards()
    before = np.get_printoptions(), np.geterr(), sys.getrecursionlimit()
    try:
        with warnings.catch_warnings():
            np.set_printoptions(precision=3)
            np.seterr(all="ignore")
            warnings.filterwarnings("ignore")
            random.seed(1)
            np.random.seed(1)
            sys.setrecursionlimit(5_000)
            logging.basicConfig(level=logging.INFO)
            gc.disable()
            gc.freeze()
            gc.set_threshold(10_000)
            assert guards.find() == []
    finally:
        gc.enable()
        gc.unfreeze()
        np.set_printoptions(**before[0])
        np.seterr(**before[1])
        sys.setrecursionlimit(before[2])


@pytest.fixture
def pytorch():
    pytest.importorskip("torch")
    return types.SimpleNamespace(backend=backends.load("pytorch"))


@pytest.fixture
def jax():
    pytest.importorskip("flax")
    return types.SimpleNamespace(backend=backends.load("jax"))


# How to set it, and how to set it back.
HARMLESS_IN_PYTORCH = {
    "cudnn.benchmark": ("t.backends.cudnn.benchmark = True", "= False"),
    "cudnn.deterministic": ("t.backends.cudnn.deterministic = True", "= False"),
    "cudnn.allow_tf32": ("t.backends.cudnn.allow_tf32 = False", "= True"),
    "allow_tf32": ("t.backends.cuda.matmul.allow_tf32 = True", "= False"),
    "high precision": (
        "t.set_float32_matmul_precision('high')",
        "t.set_float32_matmul_precision('highest')",
    ),
    "highest precision": (
        "t.set_float32_matmul_precision('highest')",
        "t.set_float32_matmul_precision('highest')",
    ),
    "deterministic algorithms, with warnings": (
        "t.use_deterministic_algorithms(True, warn_only=True)",
        "t.use_deterministic_algorithms(False)",
    ),
    "anomaly detection": (
        "t.autograd.set_detect_anomaly(True)",
        "t.autograd.set_detect_anomaly(False)",
    ),
    "no gradients": ("t.set_grad_enabled(False)", "t.set_grad_enabled(True)"),
    "threads": ("t.set_num_threads(2)", "t.set_num_threads(1)"),
    "print options": (
        "t.set_printoptions(precision=3)",
        "t.set_printoptions(profile='default')",
    ),
    "seeds": ("t.manual_seed(1); t.cuda.manual_seed_all(1)", "pass"),
    "the compiler's limits": (
        "import torch._dynamo as d; d.config.suppress_errors = True",
        "import torch._dynamo as d; d.config.suppress_errors = False",
    ),
    "flash attention": (
        "t.backends.cuda.enable_flash_sdp(False)",
        "t.backends.cuda.enable_flash_sdp(True)",
    ),
    "a module": ("import torch.optim.swa_utils, torch.nn.utils.parametrize", "pass"),
}


@pytest.mark.parametrize("what", HARMLESS_IN_PYTORCH)
def test_a_setting_of_pytorch_that_changes_no_evaluation(what, pytorch):
    import torch

    set_it, undo = HARMLESS_IN_PYTORCH[what]
    if undo.startswith("="):
        undo = set_it.partition("=")[0] + undo
    guards = Guards(settings=pytorch.backend.process_settings)
    exec(set_it, {"t": torch})
    try:
        assert guards.find() == []
    finally:
        exec(undo, {"t": torch})


HARMFUL_IN_PYTORCH = {
    "medium precision": (
        "t.set_float32_matmul_precision('medium')",
        "t.set_float32_matmul_precision('highest')",
        "float32 products was changed from 'at least TF32' to 'less exact than TF32'",
    ),
    "deterministic algorithms": (
        "t.use_deterministic_algorithms(True)",
        "t.use_deterministic_algorithms(False)",
        "deterministic algorithms",
    ),
    "default device": (
        "t.set_default_device('meta')",
        "t.set_default_device(None)",
        "default device",
    ),
}


@pytest.mark.parametrize("what", HARMFUL_IN_PYTORCH)
def test_a_setting_of_pytorch_that_could_change_an_evaluation(what, pytorch):
    import torch

    set_it, undo, said = HARMFUL_IN_PYTORCH[what]
    found = changed(
        pytorch, lambda: exec(set_it, {"t": torch}), lambda: exec(undo, {"t": torch})
    )
    assert any(said in text for text in found), found


HARMLESS_IN_JAX = [
    ("jax_threefry_partitionable", False),
    ("jax_log_compiles", True),
    ("jax_traceback_filtering", "off"),
    ("jax_default_matmul_precision", "highest"),
    ("jax_default_matmul_precision", "float32"),
    ("jax_default_matmul_precision", "high"),
    ("jax_explain_cache_misses", True),
    ("jax_enable_x64", False),
]


def set_in_jax(jax, name, value):
    import jax as framework

    before = framework.config.values[name]
    return changed(
        jax,
        lambda: framework.config.update(name, value),
        lambda: framework.config.update(name, before),
    )


@pytest.mark.parametrize(("name", "value"), HARMLESS_IN_JAX)
def test_a_setting_of_jax_that_changes_no_evaluation(name, value, jax):
    assert set_in_jax(jax, name, value) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_disable_jit", True),
        ("jax_debug_nans", True),
        ("jax_default_prng_impl", "rbg"),
        ("jax_compilation_cache_dir", "/tmp/x"),
        ("jax_numpy_dtype_promotion", "strict"),
    ],
)
def test_a_setting_of_jax_that_could_change_an_evaluation(name, value, jax):
    (found,) = set_in_jax(jax, name, value)
    assert f"setting {name} was changed" in found


def test_settings_that_a_part_of_a_framework_brings_along_are_not_changed_ones():
    settings = {"a": 1}
    guards = Guards(settings=lambda: settings)
    settings["new"] = 2
    assert guards.find() == []
    settings["a"] = 3
    assert guards.find() == ["setting a was changed from 1 to 3"]


def test_jax_may_be_imported_in_a_trial_of_pytorch(cheat):
    pytest.importorskip("optax")
    trial = cheat(top="import optax")
    assert "limit was reached" in trial.reason
