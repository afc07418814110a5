"""A submission's own files are found however it names them, and nothing else is."""

import dataclasses
import os
import subprocess
import sys

import pytest

from algoperf import spec, submission
from algoperf.errors import AlgoPerfError, BadSubmission


def size_of(path):
    return submission.load(path).get_batch_size("any")


HELPER = "SIZE = 32\n"
X = "repo/submissions/self_tuning/x"
# What is in the tree, beside the main file, whose first line is the import.
FOUND = {
    "a sibling by its bare name": (
        "from helper import SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "a sibling, relatively": ("from .helper import SIZE", {f"{X}/helper.py": HELPER}),
    "a sibling as a module, relatively": (
        "from . import helper\nSIZE = helper.SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "a sibling by a dotted path": (
        "from submissions.self_tuning.x.helper import SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "a dotted path, as a module": (
        "import submissions.self_tuning.x.helper as h\nSIZE = h.SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "a dotted path, by its first name": (
        "import submissions.self_tuning.x.helper\n"
        "SIZE = submissions.self_tuning.x.helper.SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "a dotted path from the repository's name on": (
        "from repo.submissions.self_tuning.x.helper import SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "packages with `__init__` all the way": (
        "from submissions.self_tuning.x.helper import SIZE",
        {
            f"{X}/helper.py": HELPER,
            f"{X}/__init__.py": "",
            "repo/submissions/self_tuning/__init__.py": "",
            "repo/submissions/__init__.py": "",
        },
    ),
    "a sibling package": (
        "from parts.sizes import SIZE",
        {f"{X}/parts/__init__.py": "", f"{X}/parts/sizes.py": HELPER},
    ),
    "a sibling folder without `__init__`": (
        "from parts.sizes import SIZE",
        {f"{X}/parts/sizes.py": HELPER},
    ),
    "a module of a sibling folder": (
        "from parts import sizes\nSIZE = sizes.SIZE",
        {f"{X}/parts/sizes.py": HELPER},
    ),
    "a sibling package, relatively": (
        "from .parts.sizes import SIZE",
        {f"{X}/parts/sizes.py": HELPER},
    ),
    "what `__init__` of the own folder defines": (
        "from . import SIZE",
        {f"{X}/__init__.py": HELPER},
    ),
    "what `__init__` takes from a sibling": (
        "from . import SIZE",
        {f"{X}/__init__.py": "from .helper import SIZE", f"{X}/helper.py": HELPER},
    ),
    "everything of a sibling": ("from helper import *", {f"{X}/helper.py": HELPER}),
    "a neighbour, relatively": (
        "from ..common import SIZE",
        {"repo/submissions/self_tuning/common.py": HELPER},
    ),
    "a neighbour three levels up": (
        "from ....common.sizes import SIZE",
        {"repo/common/sizes.py": HELPER},
    ),
    "another tree below a parent": (
        "from algorithms.z import SIZE",
        {"repo/algorithms/z.py": HELPER},
    ),
    "another tree with relative imports in it": (
        "from algorithms.z.main import SIZE",
        {
            "repo/algorithms/z/main.py": "from .sizes import SIZE",
            "repo/algorithms/z/sizes.py": HELPER,
        },
    ),
    "another tree of absolute imports": (
        "from algorithms.z.main import SIZE",
        {
            "repo/algorithms/z/main.py": "from algorithms.sizes import SIZE",
            "repo/algorithms/sizes.py": HELPER,
        },
    ),
    "reference algorithms of a repository": (
        "from reference_algorithms.paper_baselines.adamw.jax.submission import SIZE",
        {
            "repo/reference_algorithms/paper_baselines/adamw/jax/submission.py": HELPER,
            "repo/reference_algorithms/__init__.py": "",
        },
    ),
    "siblings that import each other by bare names": (
        "from helper import SIZE",
        {f"{X}/helper.py": "from sizes import SIZE", f"{X}/sizes.py": HELPER},
    ),
    "a sibling by its bare name that imports relatively": (
        "from helper import SIZE",
        {f"{X}/helper.py": "from .sizes import SIZE", f"{X}/sizes.py": HELPER},
    ),
    "a module at the top of the repository": (
        "from common import SIZE",
        {"repo/common.py": HELPER},
    ),
    "a look-up at run time": (
        "import importlib\nSIZE = importlib.import_module('helper').SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "a relative look-up at run time": (
        "import importlib\nSIZE = importlib.import_module('.helper', __package__).SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "a folder that is put on the path": (
        "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))\n"
        "from helper import SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "a library beside it that is put on the path": (
        "import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), 'lib'))\n"
        "from inner import SIZE",
        {f"{X}/lib/inner.py": HELPER},
    ),
    "one of two possible packages": (
        "try:\n    from nowhere_at_all import SIZE\n"
        "except ImportError:\n    from helper import SIZE",
        {f"{X}/helper.py": HELPER},
    ),
    "itself, from a sibling": (
        "SIZE = 32\nimport helper\nassert helper.again == 32",
        {
            f"{X}/helper.py": "from submissions.self_tuning.x.submission import SIZE as again"
        },
    ),
    "an `__init__` that hands on the submission": (
        "SIZE = 32",
        {f"{X}/__init__.py": "from .submission import update_params"},
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_an_own_file_is_found_as(what, tree):
    line, files = FOUND[what]
    path = tree({**files, f"!{X}/submission.py": line + "\n"})
    assert submission.missing_imports(path) == []
    assert size_of(path) == 32


def test_a_file_is_executed_once_under_all_its_names(tree):
    path = tree(
        {
            f"{X}/helper.py": "class Rule: pass\nSIZE = 32",
            f"!{X}/submission.py": "import helper\nfrom . import helper as b\n"
            "import submissions.self_tuning.x.helper as c\n"
            "from helper import Rule, SIZE\n"
            "assert helper is b is c and b.Rule is c.Rule is Rule\n",
        }
    )
    assert size_of(path) == 32


def test_nothing_of_the_look_up_depends_on_the_current_folder(
    tree, monkeypatch, tmp_path
):
    path = tree(
        {
            "elsewhere/helper.py": "SIZE = 1",
            "elsewhere/algoperf/__init__.py": "raise RuntimeError",
            "elsewhere/algoperf/spec.py": "raise RuntimeError",
            f"{X}/helper.py": HELPER,
            f"!{X}/submission.py": "from algoperf import spec\nfrom helper import SIZE",
        }
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert size_of(path) == 32


def test_a_module_of_the_current_folder_is_not_found(tree, monkeypatch, tmp_path):
    path = tree(
        {
            "elsewhere/only_there.py": HELPER,
            f"!{X}/submission.py": "from only_there import SIZE",
        }
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(AlgoPerfError, match="only_there"):
        size_of(path)


def test_a_sibling_hides_no_installed_package_and_nothing_of_python(tree):
    path = tree(
        {
            f"{X}/numpy.py": "raise RuntimeError('shadowed')",
            f"{X}/colorsys.py": "raise RuntimeError('shadowed')",
            f"!{X}/submission.py": "import numpy, colorsys\n"
            "SIZE = int(numpy.int64(32))\ncolorsys.rgb_to_hsv",
        }
    )
    assert size_of(path) == 32


def test_who_takes_an_installed_package_for_an_own_file_is_told_so(tree):
    path = tree(
        {
            f"{X}/colorsys.py": HELPER,
            f"!{X}/submission.py": "from colorsys import SIZE",
        }
    )
    with pytest.raises(BadSubmission) as caught:
        size_of(path)
    text = str(caught.value)
    assert "'colorsys' is an installed package" in text and "rename the file" in text
    assert "from . import colorsys" in text


def test_a_sibling_with_the_name_of_a_package_can_be_imported_relatively(tree):
    path = tree(
        {f"{X}/numpy.py": HELPER, f"!{X}/submission.py": "from .numpy import SIZE"}
    )
    assert size_of(path) == 32


def test_packages_that_look_for_others_find_no_folders_of_that_name(tree):
    path = tree(
        {
            "site/probing/__init__.py": "try:\n    import tensorflow as found\n"
            "except ImportError:\n    found = None",
            "tensorflow/pandas.py": "",
            "!tensorflow/x/submission.py": "import probing\nassert probing.found is None\n"
            "SIZE = 32",
            "tensorflow/x/tensorflow.py": "",
        }
    )
    # As if it were installed: found on the path, not by the submission's finders.
    sys.path.append(str(path.parents[2] / "site"))
    assert size_of(path) == 32


TWO = {
    "one/helper.py": "SIZE = 1",
    "two/helper.py": "SIZE = 2",
    "one/parts/sizes.py": "SIZE = 1",
    "two/parts/sizes.py": "SIZE = 2",
}
WAYS = {
    "bare": "from helper import SIZE\n",
    "relative": "from .helper import SIZE\n",
    "in a package": "from parts.sizes import SIZE\n",
    "on the path": "import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\n"
    "from helper import SIZE\n",
}


@pytest.mark.parametrize("way", WAYS)
def test_two_submissions_with_equally_named_files_do_not_mix(way, tree):
    one = submission.load(tree({**TWO, "!one/submission.py": WAYS[way]}))
    two = submission.load(tree({"!two/submission.py": WAYS[way]}))
    assert [one.get_batch_size(""), two.get_batch_size("")] == [1, 2]


@pytest.mark.parametrize(
    "line", ["from helper import SIZE", "from .helper import SIZE"]
)
def test_two_submissions_do_not_mix_what_they_import_when_called(line, tree):
    late = f"\ndef get_batch_size(name):\n    {line}\n    return SIZE\n"
    paths = [
        tree({**TWO, f"!{name}/submission.py": "SIZE = 0"}) for name in ("one", "two")
    ]
    for path in paths:
        path.write_text(path.read_text() + late)
    one, two = map(submission.load, paths)
    found = [s.get_batch_size("") for s in (one, two, one, two)]
    assert found == [1, 2, 1, 2]


def test_a_class_of_a_submission_can_be_pickled(tree):
    import pickle

    path = tree(
        {
            f"{X}/helper.py": "import dataclasses\n@dataclasses.dataclass\nclass S:\n    n: int",
            f"!{X}/submission.py": "SIZE = 32\nfrom helper import S\n",
        }
    )
    path.write_text(path.read_text() + "\ndef get_batch_size(name):\n    return S(3)\n")
    made = submission.load(path).get_batch_size("")
    assert pickle.loads(pickle.dumps(made)) == made and dataclasses.is_dataclass(made)


def test_loading_leaves_the_path_as_it_is(tree):
    before = list(sys.path)
    size_of(
        tree(
            {f"{X}/helper.py": HELPER, f"!{X}/submission.py": "from helper import SIZE"}
        )
    )
    assert sys.path == before


def test_a_submission_that_fails_leaves_nothing_behind(tree):
    before = list(sys.path)
    path = tree(
        {
            f"{X}/helper.py": HELPER,
            f"!{X}/submission.py": "import sys, helper\nsys.path.append('/x')\n1 / 0",
        }
    )
    with pytest.raises(
        BadSubmission, match=r"ZeroDivisionError.*submission.py, line 3"
    ):
        size_of(path)
    files = [getattr(module, "__file__", None) for module in sys.modules.values()]
    folder = str(path.parent)
    assert not any(file and file.startswith(folder) for file in files)
    assert sys.path == before and "helper" not in sys.modules
    assert not any(getattr(f, "is_for_submissions", 0) for f in sys.meta_path)


@pytest.mark.parametrize(
    "name",
    [
        "my submission.py",
        "adamw.v2.py",
        "submission-1.py",
        "1st.py",
        "import.py",
        "übung.py",
        "__init__.py",
        "numpy.py",
        "a'b\"c.py",
    ],
)
def test_a_file_may_have_any_name(name, tree):
    path = tree({"x/helper.py": HELPER, f"!x/{name}": "from .helper import SIZE"})
    assert size_of(path) == 32


@pytest.mark.parametrize(
    "folder", ["my algo", "adamw.v2", "a-b", "%41", "übung", "{x}"]
)
@pytest.mark.parametrize("line", ["from .helper import", "from helper import"])
def test_a_folder_may_have_any_name(folder, line, tree):
    path = tree(
        {f"{folder}/helper.py": HELPER, f"!{folder}/submission.py": f"{line} SIZE"}
    )
    assert size_of(path) == 32


def test_a_neighbour_of_a_folder_with_an_odd_name_is_found(tree):
    path = tree(
        {
            "adamw.v2/common.py": HELPER,
            "!adamw.v2/a-b.c/submission.py": "from ..common import SIZE",
        }
    )
    assert size_of(path) == 32


def test_a_link_to_a_file_finds_what_is_beside_the_file_and_beside_the_link(
    tree, tmp_path
):
    path = tree(
        {
            "real/a.py": "A = 30",
            "links/b.py": "B = 2",
            "!real/submission.py": "from a import A\nfrom b import B\nfrom .b import B as C\n"
            "SIZE = A + C\n",
        }
    )
    link = tmp_path / "links" / "submission.py"
    link.symlink_to(path)
    assert size_of(link) == 32


def test_a_link_to_a_folder_is_followed(tree, tmp_path):
    tree(
        {
            "real/helper.py": HELPER,
            "!real/submission.py": "from submissions.mine.helper import SIZE",
        }
    )
    (tmp_path / "submissions").mkdir()
    (tmp_path / "submissions" / "mine").symlink_to(tmp_path / "real")
    assert size_of(tmp_path / "submissions" / "mine" / "submission.py") == 32


@pytest.mark.parametrize(
    "line",
    [
        "from algorithmic_efficiency import spec",
        "import algorithmic_efficiency.spec as spec",
        "import algorithmic_efficiency\nspec = algorithmic_efficiency.spec",
        "from algorithmic_efficiency.spec import *\nfrom algoperf import spec",
    ],
)
def test_the_name_of_api_05_hands_on_our_modules(line, tree):
    check = "import algoperf.spec\nassert spec is algoperf.spec\nSIZE = 32\n"
    path = tree({f"!{X}/submission.py": f"{line}\n{check}"})
    specification = spec.__spec__
    assert size_of(path) == 32
    assert spec.__spec__ is specification and spec.__name__ == "algoperf.spec"


def test_the_name_of_api_05_comes_before_a_clone_of_that_benchmark(tree):
    path = tree(
        {
            "repo/algorithmic_efficiency/__init__.py": "raise RuntimeError",
            "repo/algorithmic_efficiency/spec.py": "raise RuntimeError",
            f"!{X}/submission.py": "from algorithmic_efficiency import spec\nSIZE = 32",
        }
    )
    sys.path.append(str(path.parents[3]))  # installed in editable mode
    assert size_of(path) == 32


def test_the_alias_is_known_to_nobody_but_submissions():
    code = "import algoperf.submission, algorithmic_efficiency"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert "No module named 'algorithmic_efficiency'" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "from algorithmic_efficiency.workloads.mnist.mnist_jax.workload import MnistWorkload",
        "from algorithmic_efficiency import data_utils",
        "import algorithmic_efficiency.param_utils",
        "import importlib\nimportlib.import_module('algorithmic_efficiency.random_utils')",
        "import algorithmic_efficiency as a\na.pytorch_init_utils",
        "def f():\n    from algorithmic_efficiency import logger_utils\nf()",
    ],
)
def test_other_modules_of_api_05_are_one_clear_sentence(line, tree):
    path = tree({f"!{X}/submission.py": f"{line}\nSIZE = 32"})
    with pytest.raises(BadSubmission) as caught:
        size_of(path)
    text = str(caught.value)
    assert "algorithmic_efficiency." in text and "is a name of API 0.5" in text
    assert "Submissions may import algoperf.spec" in text
    assert len(text.splitlines()) == 1


def test_a_submission_may_do_without_a_module_of_api_05(tree):
    path = tree(
        {
            f"!{X}/submission.py": "try:\n    from algorithmic_efficiency import data_utils\n"
            "except ImportError:\n    SIZE = 32\n"
        }
    )
    assert size_of(path) == 32


def test_a_name_of_the_benchmark_that_does_not_exist_is_told(tree):
    path = tree({f"!{X}/submission.py": "from algoperf import pytorch_util\nSIZE = 1"})
    with pytest.raises(BadSubmission) as caught:
        size_of(path)
    assert "algoperf.pytorch_util does not exist here." in str(caught.value)
    assert "Did you mean 'pytorch_utils'?" in str(caught.value)
