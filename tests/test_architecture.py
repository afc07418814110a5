"""The house rules of `docs/architecture.md`: who may import whom, and what is installed."""

import ast
import graphlib
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "algoperf"
WINGS = ("workloads", "datasets", "reference_algorithms", "scoring")
BACKENDS = {"jax": "algoperf.jax_backend", "pytorch": "algoperf.pytorch_backend"}
FRAMEWORKS = {
    "jax": {"jax", "jaxlib", "flax", "optax", "jraph"},
    "pytorch": {"torch", "torchvision", "torchaudio"},
}
HELPERS = {"algoperf.jax_sharding_utils": "jax", "algoperf.pytorch_utils": "pytorch"}
# What models are made of.
MODEL_PARTS = ("batch_norm", "layers", "initializers", "output_layer", "weights")
PUBLIC_TO_SUBMISSIONS = {"algoperf.spec", *HELPERS}


@dataclass(frozen=True)
class Import:
    """One import statement's target: a module, as far as ours are concerned."""

    target: str
    line: int
    at_top: bool  # outside all functions

    @property
    def root(self) -> str:
        return self.target.partition(".")[0]


def module_files() -> dict[str, Path]:
    """All modules by name, those of the wings through the links."""
    files = {}
    for folder, subfolders, names in os.walk(PACKAGE, followlinks=True):
        # The template is copied, and never imported.
        passed_over = ("__pycache__", "submission_template")
        subfolders[:] = [name for name in subfolders if name not in passed_over]
        for name in names:
            if name.endswith(".py"):
                path = Path(folder) / name
                parts = path.relative_to(ROOT).with_suffix("").parts
                files[".".join(p for p in parts if p != "__init__")] = path
    return files


FILES = module_files()


def imports_of(module: str) -> list[Import]:
    tree = ast.parse(FILES[module].read_text())
    return list(_imports_in(tree, module, at_top=True))


def _imports_in(node: ast.AST, module: str, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(
            child.test
        )
        is_at_top = at_top and not is_function and not is_for_types
        yield from _imports_in(child, module, is_at_top)
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_top)
        elif isinstance(child, ast.ImportFrom):
            source = _absolute(child, module)
            for alias in child.names:
                name = f"{source}.{alias.name}"
                target = name if name in FILES or name in WING_NAMES else source
                yield Import(target, child.lineno, at_top)


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    is_package = FILES[module].name == "__init__.py"
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


WING_NAMES = {f"algoperf.{wing}" for wing in WINGS}
IMPORTS = {module: imports_of(module) for module in FILES}


def is_in(module: str, *packages: str) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def wing_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in WINGS else None


def framework_of(module: str) -> str | None:
    """The framework that a module is written for."""
    for framework, package in BACKENDS.items():
        if is_in(module, package) or module.endswith(f"_{framework}"):
            return framework
    return HELPERS.get(module)


# Run once by maintainers, with packages that nobody else needs.
TOOLS = {module for module in FILES if module.endswith(".make_embedded")}
NEUTRAL = sorted(m for m in FILES if framework_of(m) is None and m not in TOOLS)
HARNESS = sorted(module for module in FILES if wing_of(module) is None)


def in_wing(wing: str) -> list[str]:
    return sorted(module for module in FILES if wing_of(module) == wing)


def own_imports(module: str) -> list[Import]:
    return [found for found in IMPORTS[module] if found.root == "algoperf"]


def tell(module: str, found: Import) -> str:
    return f"{FILES[module].relative_to(ROOT)}:{found.line} imports {found.target}"


def test_the_reader_of_imports_sees_all_kinds():
    found = {(i.target, i.at_top) for i in IMPORTS["algoperf.workloads.mnist.data"]}
    assert ("numpy", True) in found
    assert ("algoperf.pipeline", True) in found
    assert ("algoperf.datasets.mnist.reader", True) in found
    assert ("algoperf.workloads.mnist.definition", True) in found
    lazy = {(i.target, i.at_top) for i in IMPORTS["algoperf.runner.checkpoints.files"]}
    assert ("safetensors.numpy", False) in lazy


def test_the_harness_imports_no_wing_by_name():
    wrong = [
        tell(module, found)
        for module in HARNESS
        for found in IMPORTS[module]
        if wing_of(found.target)
    ]
    assert wrong == []


def test_a_framework_is_imported_only_where_the_name_says_so():
    wrong = [
        tell(module, found)
        for module in FILES
        for found in IMPORTS[module]
        for framework, packages in FRAMEWORKS.items()
        if found.root in packages and framework_of(module) != framework
    ]
    assert wrong == []


def test_tensorflow_is_imported_nowhere():
    wrong = [
        tell(module, found)
        for module in FILES
        for found in IMPORTS[module]
        if found.root in ("tensorflow", "keras")
    ]
    assert wrong == []


def test_code_without_framework_imports_no_code_with_one():
    wrong = [
        tell(module, found)
        for module in NEUTRAL
        for found in own_imports(module)
        if framework_of(found.target)
    ]
    assert wrong == []


def test_code_of_one_framework_imports_no_code_of_the_other():
    wrong = [
        tell(module, found)
        for module in FILES
        for found in own_imports(module)
        if framework_of(module)
        and framework_of(found.target) not in (None, framework_of(module))
    ]
    assert wrong == []


def test_imports_make_no_circle():
    graph = {
        module: {
            found.target
            for found in IMPORTS[module]
            if found.at_top and found.target in FILES and found.target != module
        }
        for module in FILES
    }
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert len(order) == len(FILES)


# From the top down: a room may import from those below it, and from its own.
ROOMS_ABOVE_THE_CORE = (
    ("algoperf.commands", "algoperf.cli", "algoperf.__main__", "algoperf.api"),
    ("algoperf.suite",),
    ("algoperf.campaign",),
    ("algoperf.procedures",),
    ("algoperf.runner",),
    ("algoperf.instruments",),
)


@pytest.mark.parametrize("level", range(len(ROOMS_ABOVE_THE_CORE)))
def test_a_room_is_not_imported_from_below(level):
    room = ROOMS_ABOVE_THE_CORE[level]
    at_or_above = [
        name for rooms in ROOMS_ABOVE_THE_CORE[: level + 1] for name in rooms
    ]
    wrong = [
        tell(module, found)
        for module in FILES
        for found in own_imports(module)
        if not is_in(module, *at_or_above) and is_in(found.target, *room)
    ]
    assert wrong == []


def test_the_submission_api_depends_on_nothing():
    assert own_imports("algoperf.spec") == []
    assert own_imports("algoperf.errors") == []


@pytest.mark.parametrize("framework", BACKENDS)
def test_a_backend_knows_no_workload_submission_or_runner(framework):
    above = ("algoperf.registry", "algoperf.workload", "algoperf.submission")
    wrong = [
        tell(module, found)
        for module in FILES
        for found in own_imports(module)
        if is_in(module, BACKENDS[framework])
        and is_in(found.target, "algoperf.runner", "algoperf.rulesets", *above)
    ]
    assert wrong == []


def may_workload_import(module: str, target: str) -> bool:
    framework = framework_of(module)
    if is_in(target, *BACKENDS.values()):
        parts = {f"{BACKENDS[framework]}.{p}" for p in MODEL_PARTS} if framework else ()
        return is_in(target, *parts)
    if wing_of(target) == "datasets":
        # What prepares data is not needed to read it.
        return not target.endswith((".prepare", ".make_embedded"))
    above = ("algoperf.runner", "algoperf.registry", "algoperf.submission")
    return wing_of(target) in (None, "workloads") and not is_in(target, *above)


# Which devices and processes there are is the backend's: it hands on a `ForwardContext`.
DISTRIBUTION = re.compile(
    r"(?i)(^|_)(mesh|ddp|rank|world_?size|process_?group|shard_map|shardings?|named_?sharding"
    r"|partition_?spec|distributed\w*|all_?reduce|all_?gather|psum|pmean|pmap|axis_name"
    r"|torchelastic\w*)(_|$)"
)


def names_of_distribution(source: str) -> set[str]:
    """Names, and strings that are one word, that speak of devices and processes."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    words = {
        token.string.strip("'\"")
        for token in tokens
        if token.type in (tokenize.NAME, tokenize.STRING)
    }
    return {word for word in words if word.isidentifier() and DISTRIBUTION.search(word)}


@pytest.mark.parametrize(
    "line",
    [
        "from torch import distributed",
        "split = jax.shard_map(f, mesh=get_mesh())",
        "rank = os.environ['RANK']",
        "if isinstance(module, DistributedDataParallel): pass",
        "n = dist.get_world_size(process_group)",
        "total = jax.lax.psum(x, 'batch')",
        "sharding = NamedSharding(m, PartitionSpec('batch'))",
    ],
)
def test_the_reader_of_names_sees_distribution(line):
    assert names_of_distribution(line)


def test_the_reader_of_names_passes_over_prose_and_shards_of_data():
    text = '"""Ranks of ties on all devices."""\nstart = request.shard  # mesh\n'
    assert not names_of_distribution(text)


def test_a_workload_asks_for_no_device_or_process():
    found = {
        module: names_of_distribution(FILES[module].read_text())
        for module in in_wing("workloads")
    }
    assert {module: names for module, names in found.items() if names} == {}


def may_data_set_import(module: str, target: str) -> bool:
    above = ("algoperf.runner", "algoperf.registry", "algoperf.workload")
    return wing_of(target) in (None, "datasets") and not is_in(target, *above)


def test_pipelines_and_metrics_belong_to_workloads():
    wrong = [
        f"{FILES[module].relative_to(ROOT)} defines {node.name}"
        for module in in_wing("datasets")
        for node in ast.parse(FILES[module].read_text()).body
        if isinstance(node, ast.FunctionDef)
        if node.name in ("open_batches", "outputs", "summarise", "summariser")
    ]
    assert wrong == []


def may_algorithm_import(module: str, target: str) -> bool:
    own = ".".join(module.split(".")[:3])
    shared = "algoperf.reference_algorithms._shared"
    return target in PUBLIC_TO_SUBMISSIONS or is_in(target, own, shared)


def may_scoring_import(module: str, target: str) -> bool:
    above = ("algoperf.runner", "algoperf.workload", "algoperf.submission")
    return wing_of(target) in (None, "scoring") and not is_in(target, *above)


@pytest.mark.parametrize(
    ("wing", "may_import"),
    [
        ("workloads", may_workload_import),
        ("datasets", may_data_set_import),
        ("reference_algorithms", may_algorithm_import),
        ("scoring", may_scoring_import),
    ],
)
def test_a_wing_imports_only_what_it_may(wing, may_import):
    modules = in_wing(wing)
    assert modules
    wrong = [
        tell(module, found)
        for module in modules
        for found in own_imports(module)
        if not may_import(module, found.target)
    ]
    assert wrong == []


DIRECTIONS = ("higher", "lower")


def decides_direction(tree: ast.AST) -> Iterator[int]:
    """Lines that compare something with a direction, or write one as a table's value."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare | ast.Dict):
            continue
        is_table = isinstance(node, ast.Dict)
        found = list(node.values if is_table else [node.left, *node.comparators])
        found += [e for x in found if isinstance(x, ast.Tuple) for e in x.elts]
        if any(isinstance(x, ast.Constant) and x.value in DIRECTIONS for x in found):
            yield node.lineno


@pytest.mark.parametrize(
    "line",
    [
        "sign = 1 if target.better == 'higher' else -1",
        "x = 'lower' != better",
        "ok = better in ('higher', 'lower')",
        "_BETTER = {'wer': 'lower'}",
    ],
)
def test_the_reader_of_directions_sees_decisions(line):
    assert list(decides_direction(ast.parse(line))) == [1]


def test_only_a_target_knows_in_which_direction_its_metric_improves():
    wrong = [
        f"{FILES[module].relative_to(ROOT)}:{line}"
        for module in FILES
        if module != "algoperf.definition"
        for line in decides_direction(ast.parse(FILES[module].read_text()))
    ]
    assert wrong == []


def test_scoring_needs_no_package_but_numpy():
    packages = {
        found.root for module in in_wing("scoring") for found in IMPORTS[module]
    }
    assert packages - sys.stdlib_module_names <= {"algoperf", "numpy"}


def packages_of(requirements: list[str]) -> set[str]:
    """The distributions that `pyproject.toml` asks for."""
    return {canonicalize_name(Requirement(text).name) for text in requirements}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE_PACKAGES = packages_of(PROJECT["dependencies"])
EXTRA_PACKAGES = packages_of(
    [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
)


def third_party(modules: list[str], *, at_top: bool) -> dict[str, str]:
    """Packages by the name they are imported by, and one place that imports each."""
    return {
        found.root: tell(module, found)
        for module in modules
        for found in IMPORTS[module]
        if found.root not in sys.stdlib_module_names | {"algoperf", "__future__"}
        and (found.at_top or not at_top)
    }


KNOWN_IMPORTS = importlib.metadata.packages_distributions()


def distributions(imported: str) -> set[str]:
    names = KNOWN_IMPORTS.get(imported, [imported])
    return {canonicalize_name(name) for name in names}


def test_what_is_imported_without_a_framework_comes_with_the_core():
    found = third_party(NEUTRAL, at_top=True)
    assert [
        place
        for name, place in found.items()
        if not distributions(name) & CORE_PACKAGES
    ] == []


def test_every_package_that_is_imported_anywhere_is_declared():
    found = third_party(sorted(FILES.keys() - TOOLS), at_top=False)
    declared = CORE_PACKAGES | EXTRA_PACKAGES | {"jaxlib"}  # jaxlib comes with jax
    assert [
        place for name, place in found.items() if not distributions(name) & declared
    ] == []


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_is_linked_and_shadows_no_installed_package(wing):
    assert not (ROOT / wing / "__init__.py").exists()
    assert os.readlink(PACKAGE / wing) == f"../{wing}"


def python(code: str, *, path: Path | None = None, cwd: Path = ROOT) -> str:
    """Runs code in a new process, from the root of the repository; its output."""
    paths = [str(path) for path in (ROOT, path) if path]
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


IMPORT_BLOCKED = """
import importlib, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and root not in {known}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocker())
for name in {names}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(name, "needs", error.name)
"""


def test_all_but_the_frameworks_code_imports_with_the_core_alone():
    names = [name for name in NEUTRAL if "__main__" not in name]
    assert len(names) > 40
    core = [name for name in KNOWN_IMPORTS if distributions(name) & CORE_PACKAGES]
    known = {"algoperf", *core}
    assert python(IMPORT_BLOCKED.format(known=known, names=names)) == ""


IMPORT_FOREIGN = """
from algoperf import cli, submission
from pathlib import Path
cli.main(["list"])
submission.load(Path("{submission}"))
import algoperf.datasets.mnist, algoperf.scoring.profiles
import {wings}
for wing in ({wings}):
    assert wing.IS_FOREIGN, wing
print("foreign packages are found")
"""


def test_a_checkout_shadows_no_installed_package_of_the_same_name(tmp_path):
    for wing in WINGS:
        (tmp_path / "site" / wing).mkdir(parents=True)
        (tmp_path / "site" / wing / "__init__.py").write_text("IS_FOREIGN = True\n")
    submission = tmp_path / "submission.py"
    submission.write_text(
        "def get_batch_size(name): return 8\n"
        "def init_optimizer_state(a, b, c, d, e): pass\n"
        "def update_params(**kwargs): pass\n"
        "def data_selection(a, b, c, d, e, f, g, h): pass\n"
    )
    code = IMPORT_FOREIGN.format(submission=submission, wings=", ".join(WINGS))
    output = python(code, path=tmp_path / "site")
    assert output.endswith("foreign packages are found\n")


def can_build() -> bool:
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        return False
    return int(version.partition(".")[0]) >= 77


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """The names of the files in a wheel, built from a copy of the tree."""
    if not can_build():
        pytest.skip("building needs setuptools>=77")
    copy = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("algoperf", "submissions", *WINGS):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    for pattern in ("pyproject.toml", "README*", "LICENSE*", "submission_runner.py"):
        for path in ROOT.glob(pattern):
            shutil.copy(path, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-index", "--no-build-isolation", "--wheel-dir", copy / "out", copy]
    subprocess.run(command, check=True)
    (built,) = (copy / "out").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_the_wheel_holds_one_top_level_name(wheel):
    names = {name.partition("/")[0] for name in wheel}
    assert {name for name in names if not name.endswith(".dist-info")} == {"algoperf"}


def test_the_wheel_holds_every_module(wheel):
    expected = {path.relative_to(ROOT).as_posix() for path in FILES.values()}
    assert expected - set(wheel) == set()


def test_the_wheel_holds_the_template_that_new_copies(wheel):
    expected = {
        f"algoperf/submission_template/{path.name}"
        for path in (ROOT / "submissions" / "template").iterdir()
        if path.is_file()
    }
    assert expected and expected - set(wheel) == set()


def test_the_wheel_tells_type_checkers_that_it_is_typed(wheel):
    assert {"algoperf/py.typed", "algoperf/__init__.pyi"} <= set(wheel)


def test_the_wheel_holds_the_wings_other_files(wheel):
    expected = {
        Path("algoperf", wing, path.relative_to(ROOT / wing)).as_posix()
        for wing in WINGS
        for path in (ROOT / wing).rglob("*")
        if path.suffix in (".json", ".gz", ".md") or path.name == "NOTICE"
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    }
    kinds = {Path(name).suffix or Path(name).name for name in expected}
    assert kinds >= {".json", ".gz", "NOTICE"}
    assert expected - set(wheel) == set()
