"""Hints in a submission's source: what looks like a look-up by workload is shown with its line."""

import pytest

from algoperf import registry
from algoperf.runner.fairness.review import hints

NAMES = list(registry.definitions())


def hints_in(tmp_path, code):
    path = tmp_path / "submission.py"
    path.write_text(code)
    return [(hint.line, hint.text) for hint in hints(path, NAMES)]


REMARKABLE = {
    "a rate by workload name": (
        "RATES = {'ogbg': 1e-3, 'mnist': 1e-2}\n"
        "def update_params(workload):\n    return RATES",
        1,
        "names the workload 'ogbg'",
    ),
    "the workload's own name": (
        "def update_params(workload):\n    return workload.name",
        2,
        "reads workload.name",
    ),
    "the definition": (
        "def update_params(workload):\n    return workload.definition.budget",
        2,
        "reads workload.definition",
    ),
    "something private": (
        "def update_params(workload):\n    return workload._model",
        2,
        "reads workload._model",
    ),
    "a fingerprint by shape": (
        "def init(workload, params):\n"
        "    return 1 if params['w'].shape == (784, 128) else 2",
        2,
        "compares shape with 784",
    ),
    "a fingerprint by the step hint": (
        "def init(workload):\n    return workload.step_hint > 80_000",
        2,
        "compares step_hint with 80000",
    ),
    "a rate by environment": (
        "import os\nRATE = os.environ['RATE']",
        2,
        "reads or changes the environment",
    ),
    "the environment, otherwise": (
        "import os\nRATE = os.getenv('RATE')",
        2,
        "reads or changes the environment",
    ),
    "the network": ("import socket", 1, "the network"),
    "other programs": ("from subprocess import run", 1, "other programs"),
    "the data": (
        "from algoperf.datasets.mnist import reader",
        1,
        "algoperf.datasets, which is not public",
    ),
    "the harness": ("import algoperf.runner.trial", 1, "algoperf.runner"),
    "a replaced method": (
        "def update_params(workload):\n    workload.loss_fn = None",
        2,
        "changes workload.loss_fn",
    ),
    "a replaced clock": ("import time\ntime.time = None", 2, "changes time.time"),
    "a replaced function of a framework": (
        "import torch.nn.functional as F\ndef init():\n    F.linear = None",
        3,
        "changes F.linear, which it has imported",
    ),
    "a function replaced by name": (
        "import numpy as np\nsetattr(np, 'mean', None)",
        2,
        "changes np, which it has imported",
    ),
    "a setting of JAX": (
        "import jax\njax.config.update('jax_enable_x64', True)",
        2,
        "changes a setting of the whole process (jax.config.update)",
    ),
    "a setting of PyTorch": (
        "import torch\ntorch.backends.cudnn.enabled = False",
        2,
        "changes a setting of the whole process",
    ),
    "a file that is read": (
        "import numpy as np\ndef init():\n    return np.load('x.npy')",
        3,
        "reads a file (np.load)",
    ),
    "a pool of threads": (
        "from concurrent.futures import ThreadPoolExecutor",
        1,
        "threads or processes",
    ),
    "a variable that ends a trial": (
        "import os\nos.environ['XLA_FLAGS'] = '--x'",
        2,
        "changes the environment",
    ),
    "API 0.5": (
        "import jax\nf = jax.pmap(abs)",
        2,
        "jax.pmap is of API 0.5: use jax.jit",
    ),
    "a timer": ("import signal", 1, "signals and timers"),
}


@pytest.mark.parametrize("what", REMARKABLE)
def test_a_remarkable_place_is_shown_with_its_line(tmp_path, what):
    code, line, text = REMARKABLE[what]
    found = hints_in(tmp_path, code)
    assert any(line == place and text in said for place, said in found), found


UNREMARKABLE = {
    "batch sizes by name": (
        "SIZES = {'ogbg': 512}\ndef get_batch_size(workload_name):\n"
        "    if workload_name == 'mnist': return 16\n    return SIZES[workload_name]"
    ),
    "the number of axes": "def f(p):\n    return len(p.shape) > 1 and p.shape[0] > 3",
    "public names": "from algoperf import spec, pytorch_utils",
    "own objects": "class A: pass\na = A()\na.rate = 1\nsetattr(a, 'rate', 2)",
    "settings that a submission may choose": (
        "import torch\ntorch.backends.cudnn.benchmark = True\n"
        "torch.backends.cuda.matmul.allow_tf32 = True\ntorch.set_num_threads(2)"
    ),
    "messages of JAX": "import jax\njax.config.update('jax_log_compiles', True)",
    "variables that change no evaluation": (
        "import os\nos.environ['WANDB_MODE'] = 'offline'\n"
        "os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')"
    ),
    "a share of the step hint": "def f(w):\n    return 0.05 * w.step_hint",
}


@pytest.mark.parametrize("what", UNREMARKABLE)
def test_what_is_allowed_is_not_shown(tmp_path, what):
    assert hints_in(tmp_path, UNREMARKABLE[what]) == []


def test_files_beside_the_submission_are_read_too(tmp_path):
    (tmp_path / "helper.py").write_text("RATES = {'ogbg': 1}\nprint(RATES)")
    (found,) = hints_in(tmp_path, "import helper")[:1]
    assert "ogbg" in found[1]


def test_a_file_that_an_installed_package_hides_is_shown(tmp_path):
    (tmp_path / "numpy.py").write_text("")
    (found,) = hints_in(tmp_path, "import numpy")
    assert "has the name of an installed package" in found[1]


def test_a_file_that_is_no_python_is_left_to_the_loader(tmp_path):
    assert hints_in(tmp_path, "def (") == []


@pytest.mark.parametrize("name", registry.folders("reference_algorithms"))
def test_reference_algorithms_give_no_hint(name):
    folder = registry.wing_folder("reference_algorithms") / name
    path = next(folder.glob("submission_*.py"))
    assert [str(hint) for hint in hints(path, NAMES)] == []
