"""What is told about a submission's imports and syntax without running it."""

import pytest

from algoperf import submission
from algoperf.errors import AlgoPerfError, BadSubmission, MissingDependency
from algoperf.loading import source

FAIL = "raise RuntimeError('it was run')\n"


def names(path):
    return [missing.name for missing in submission.missing_imports(path)]


MISSING = {
    "a package": ("import no_such_package", ["no_such_package"]),
    "several": ("import os, no_a\nfrom no_b.c import d", ["no_a", "no_b"]),
    "a package's module": ("import no_such_package.sub as x", ["no_such_package"]),
    "in the body of a class": (
        "class A:\n    import no_such_package",
        ["no_such_package"],
    ),
    "relative": ("from .no_file import x", [".no_file"]),
    "relative, a module": ("from . import no_file", [".no_file"]),
    "a path below a folder that exists": (
        "from x.no_file import y",
        ["x.no_file"],
    ),
    "before the path is changed": (
        "import no_such_package, sys\nsys.path.append('lib')",
        ["no_such_package"],
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_a_module_that_is_missing_is_found_without_running_the_file(what, tree):
    line, expected = MISSING[what]
    path = tree({"x/submission.py": f"{line}\n{FAIL}"})
    assert names(path / "x/submission.py") == expected


PRESENT = {
    "a package of Python": "import os.path, json, __future__, sys, builtins, _thread",
    "an installed package": "import numpy as np\nfrom numpy import linalg",
    "the benchmark": "from algoperf import spec\nimport algoperf.pytorch_utils",
    "the benchmark's version": "from algoperf import __version__",
    "a reference algorithm": "from algoperf.reference_algorithms.adamw import submission_jax",
    "its old name": "from algorithmic_efficiency import spec",
    "a try that catches it": "try:\n    import no_such\nexcept ImportError:\n    no_such = 0",
    "a try that catches everything": "try:\n    import no_such\nexcept:\n    pass",
    "its second choice": "try:\n    import os\nexcept ImportError:\n    import no_such",
    "suppressed": "import contextlib\nwith contextlib.suppress(ImportError):\n"
    "    import no_such",
    "inside of a function": "def f():\n    import no_such",
    "inside of an async function": "async def f():\n    import no_such",
    "inside of a method": "class A:\n    def f(self):\n        import no_such",
    "for type checkers": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
    "    import no_such",
    "for type checkers, dotted": "import typing\nif typing.TYPE_CHECKING:\n"
    "    from no_such import x",
    "for another version": "import sys\nif sys.version_info < (3,):\n    import no_such",
    "after a change of the path": "import sys\nsys.path.append('lib')\nimport no_such",
    "after a function that changes the path": "import sys\ndef add():\n"
    "    sys.path.insert(0, 'lib')\nadd()\nimport no_such",
    "after an import of the path": "from sys import path\npath.append('x')\nimport no_such",
    "after a module of its own making": "import sys\nsys.modules['no_such'] = sys\n"
    "import no_such",
    "itself": "from x import submission",
    "relative to what `__init__` may define": "from . import anything",
    "a star": "from . import *",
}


@pytest.mark.parametrize("what", PRESENT)
def test_there_is_no_false_alarm_for(what, tree):
    path = tree({"x/__init__.py": "", "x/submission.py": f"{PRESENT[what]}\n{FAIL}"})
    assert names(path / "x/submission.py") == []


def test_what_a_sibling_needs_is_missing_too(tree):
    path = tree(
        {"x/helper.py": "import no_such", "x/submission.py": f"import helper\n{FAIL}"}
    )
    (missing,) = submission.missing_imports(path / "x/submission.py")
    assert (missing.name, missing.path.name, missing.line) == (
        "no_such",
        "helper.py",
        1,
    )


def test_a_sibling_that_is_not_certain_to_be_imported_is_no_reason(tree):
    files = {
        "x/helper.py": "import no_such",
        "x/broken.py": "def (",
        "x/submission.py": "try:\n    import helper, broken\nexcept Exception:\n    pass",
    }
    assert names(tree(files) / "x/submission.py") == []


def test_a_sibling_that_changes_the_path_may_make_packages_known(tree):
    files = {
        "x/setup_paths.py": "import sys\nsys.path.append('lib')",
        "x/submission.py": "import setup_paths\nimport no_such\nfrom . import nope",
    }
    assert names(tree(files) / "x/submission.py") == [".nope"]


def test_the_message_names_the_package_and_how_to_install_it(tree):
    path = tree({"!x/submission.py": "import PIL_no, no_other\n" + FAIL})
    with pytest.raises(MissingDependency) as caught:
        submission.check_source(path)
    text = str(caught.value)
    assert "line 1 imports 'PIL_no', which is not installed" in text
    assert "pip install PIL_no no_other;" in text


def test_a_package_is_named_as_it_is_installed(tree, monkeypatch):
    monkeypatch.setattr(source, "is_installed", lambda top: False)
    path = tree({"!x/submission.py": "import yaml"})
    with pytest.raises(MissingDependency, match="pip install pyyaml;"):
        submission.check_source(path)


def test_a_file_of_its_own_that_is_missing_is_no_package(tree):
    path = tree({"!x/submission.py": "from .helpr import x"})
    with pytest.raises(BadSubmission, match=r"'\.helpr', but there is no such file in"):
        submission.check_source(path)


BROKEN = {
    "a syntax error": (b"x = 1\ndef f(:\n", "submission.py, line 2: "),
    "an indentation error": (b"def f():\nreturn 1\n", "line 2: expected an indented"),
    "tabs and spaces": (b"if 1:\n\tx = 1\n        y = 2\n", "line 3: "),
    "Latin-1": (b"x = 1\ny = 'caf\xe9'\n", "line 2: byte 0xe9 is not UTF-8. Save"),
    "UTF-16": ("x = 1".encode("utf-16"), "is not UTF-8"),
    "a wrong declaration": (b"# -*- coding: nonsense -*-\n", "nonsense"),
    "null bytes": (b"x = 1\n\0\n", "null bytes"),
    "an unclosed bracket": (b"x = (1,\n", "was never closed"),
    "a return outside of a function": (b"x = 1\nreturn\n", "line 2: 'return' outside"),
    "a late future import": (
        b"x = 1\nfrom __future__ import annotations",
        "line 2: from ",
    ),
    "a notebook": (b'{"cells": [1, 2}', "line 1: "),
    "Python 2": (b"print 'x'\n", "Missing parentheses"),
    "deep nesting": (b"x = " + b"(" * 500 + b")" * 500, "too many nested"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_no_python_is_one_sentence(what, tmp_path):
    data, said = BROKEN[what]
    path = tmp_path / "submission.py"
    path.write_bytes(data)
    with pytest.raises(BadSubmission) as caught:
        submission.check_source(path)
    text = str(caught.value)
    assert said in text and str(path) in text and len(text.splitlines()) == 1


@pytest.mark.parametrize(
    "head", [b"\xef\xbb\xbf", b"# -*- coding: latin-1 -*-\n# caf\xe9\n", b"# a\r\n"]
)
def test_a_file_may_be_written_by_any_editor(head, tree):
    path = tree({"!x/submission.py": "SIZE = 32"})
    path.write_bytes(head + path.read_bytes().replace(b"\n", b"\r\n"))
    assert submission.load(path).get_batch_size("") == 32


def test_warnings_of_a_file_are_not_raised_by_reading_it(tree):
    path = tree({"!x/submission.py": r"x = '\d'" + "\nSIZE = 32"})
    assert submission.check_source(path).path == path


@pytest.mark.parametrize(
    "kind", ["fifo", "loop", "long", "null", "dangling", "folder.py"]
)
def test_a_path_of_another_kind_is_one_sentence(kind, tmp_path):
    import os

    path = tmp_path / "submission.py"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere.py")
    elif kind == "folder.py":
        path.mkdir()
    elif kind == "long":
        path = tmp_path / ("x" * 5000 + ".py")
    else:
        path = tmp_path / "sub\0mission.py"
    with pytest.raises(AlgoPerfError) as caught:
        submission.load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_all_own_files_are_known(tree):
    root = tree(
        {
            "repo/algorithms/z.py": "from algorithms import y",
            "repo/algorithms/y.py": "import numpy",
            "repo/x/helper.py": "",
            "repo/x/unused.py": "",
            "repo/x/submission.py": "def f():\n    from algorithms.z import a\n"
            "from . import helper",
        }
    )
    found = source.Source(root / "repo/x/submission.py").files()
    assert {path.name for path in found} == {
        "submission.py",
        "helper.py",
        "z.py",
        "y.py",
    }


OUTDATED = {
    "jax.pmap": "import jax\n@jax.pmap\ndef f(x): return x",
    "jax.tree_map": "from jax import tree_map",
    "jax.tree_leaves": "import jax as j\ndef f(x):\n    return j.tree_leaves(x)",
    "jax.device_put_replicated": "import jax\ndef f(x):\n    jax.device_put_replicated(x, [])",
    "flax.jax_utils": "from flax import jax_utils",
    "jax.experimental.pjit": "from jax.experimental.pjit import pjit",
    "jax.random.KeyArray": "import jax\ndef f(k: jax.random.KeyArray): pass",
}


@pytest.mark.parametrize("name", OUTDATED)
def test_what_api_05_had_is_recognised_with_what_to_do_instead(name, tree):
    path = tree({"!x/submission.py": OUTDATED[name]})
    (place,) = source.Source(path).outdated()
    assert (place.name == name and "use" in place.remedy) or "leave" in place.remedy


def test_pmean_alone_is_not_outdated(tree):
    path = tree(
        {"!x/submission.py": "import jax\ndef f(x):\n    jax.lax.pmean(x, 'batch')"}
    )
    assert source.Source(path).outdated() == []


def test_an_error_of_a_submission_for_api_05_says_so(tree):
    path = tree(
        {
            "!x/submission.py": "import jax\nSIZE = 1\nraise AttributeError('pmap')\n"
            "def f(x):\n    return jax.pmap(x), jax.tree_map(x, x)\n"
        }
    )
    pytest.importorskip("jax")
    with pytest.raises(BadSubmission) as caught:
        submission.load(path)
    text = str(caught.value)
    assert "submission.py is written for API 0.5" in text
    assert "line 5: jax.pmap: use jax.jit" in text and "use jax.tree.map" in text


FRAMEWORKS = {
    "import torch": "pytorch",
    "import jax.numpy as jnp": "jax",
    "import optax": "jax",
    "import torch, optax": "pytorch",
    "import torch, jax\nfrom algoperf.pytorch_utils import pytorch_setup": "pytorch",
    "import torch, jax\nfrom algorithmic_efficiency import pytorch_utils": "pytorch",
    "import torch, jax\nfrom algoperf import jax_sharding_utils": "jax",
    "from .rules import x": "jax",
    "import torch, jax": None,
    "import numpy": None,
}


@pytest.mark.parametrize("line", FRAMEWORKS)
def test_the_framework_is_told_by_the_surest_sign(line, tree):
    path = tree({"x/rules.py": "import flax", "!x/submission.py": line})
    assert source.Source(path).framework() == FRAMEWORKS[line]
