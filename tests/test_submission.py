import dataclasses
import sys
import textwrap

import numpy as np
import pytest

from algoperf import registry, submission
from algoperf.definition import Target, Variant
from algoperf.errors import AlgoPerfError, BadSubmission, MissingDependency

GET_BATCH_SIZE = "def get_batch_size(workload_name):\n    return 8\n"
INIT = """
def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {}
"""
UPDATE = """
def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results,
                  global_step, rng):
    return optimizer_state, current_param_container, model_state
"""
SELECT = """
def data_selection(workload, input_queue, optimizer_state, current_param_container,
                   model_state, hyperparameters, global_step, rng):
    return next(input_queue)
"""
PREPARE = """
def prepare_for_eval(workload, current_param_container, current_params_types,
                     model_state, hyperparameters, loss_type, optimizer_state,
                     eval_results, global_step, rng):
    return optimizer_state, current_param_container, model_state
"""
GOOD = GET_BATCH_SIZE + INIT + UPDATE + SELECT


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files of a submission."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()

    def write_file(content: str = GOOD, name: str = "submission.py"):
        path = folder / name
        path.write_text(textwrap.dedent(content))
        return path

    return write_file


def problem_of(path) -> str:
    with pytest.raises(AlgoPerfError) as caught:
        submission.load(path)
    return str(caught.value)


def test_a_complete_submission_is_loaded(write):
    loaded = submission.load(write())
    assert loaded.get_batch_size("any") == 8
    assert loaded.path.name == "submission.py"
    assert loaded.prepare_for_eval is None


def test_prepare_for_eval_is_taken_where_it_is_defined(write):
    assert submission.load(write(GOOD + PREPARE)).prepare_for_eval is not None


def test_sibling_files_can_be_imported(write):
    write("SIZE = 32\n", "sizes_of_mine.py")
    path = write("from sizes_of_mine import SIZE\n" + GOOD.replace("8", "SIZE"))
    assert submission.load(path).get_batch_size("any") == 32


def test_a_submission_may_import_itself_by_its_path_from_the_working_folder(write):
    path = write(GOOD)
    write(
        "from mine.submission import get_batch_size\n" + INIT + UPDATE + SELECT, "b.py"
    )
    assert submission.load(path.with_name("b.py")).get_batch_size("any") == 8


def test_dataclasses_of_a_submission_find_their_module(write):
    content = """
    from __future__ import annotations
    import dataclasses
    @dataclasses.dataclass
    class State:
        count: int = 0
        kinds: dataclasses.InitVar[int] = 1
    """
    loaded = submission.load(write(textwrap.dedent(content) + GOOD))
    assert loaded.get_batch_size("any") == 8


def test_everything_that_is_wrong_stands_in_one_error(write):
    text = problem_of(
        write(UPDATE.replace("batch, ", "") + PREPARE.replace("rng", "key"))
    )
    assert "submission.py does not follow the submission API" in text
    for name in ("get_batch_size", "init_optimizer_state", "data_selection"):
        assert f"- the function {name} is missing." in text
    assert "- update_params(" in text and "'batch'" in text
    assert "- prepare_for_eval(" in text and "'key'" in text
    assert text.count("\n- ") == 5


def test_a_wrong_signature_is_shown_with_the_right_one(write):
    text = problem_of(write(GOOD.replace("workload_name", "")))
    assert "get_batch_size() cannot be called" in text
    assert "it needs (workload_name)" in text


def test_a_misspelt_function_is_recognised(write):
    text = problem_of(write(GOOD.replace("update_params", "update_param")))
    assert "the function update_params is missing. Did you mean 'update_param'?" in text


def test_a_name_that_is_no_function_is_not_suggested_in_its_own_place(write):
    text = problem_of(write(GOOD + "\nupdate_params = 3\n"))
    assert "update_params" in text
    assert "Did you mean 'update_params'" not in text


def test_positional_parameters_may_have_any_names(write):
    renamed = GOOD.replace("workload_name", "name").replace("model_params", "params")
    renamed = renamed.replace("input_queue", "queue")
    assert submission.load(write(renamed)).get_batch_size("any") == 8


def test_parameters_that_are_passed_by_keyword_must_have_the_published_names(write):
    text = problem_of(write(GOOD.replace("eval_results", "results")))
    assert "update_params(" in text and "'results'" in text


def test_a_function_may_take_any_keywords(write):
    content = (
        GET_BATCH_SIZE + INIT + SELECT + "def update_params(**kwargs):\n    pass\n"
    )
    assert not submission.load(write(content)).takes_train_state


def test_further_parameters_need_defaults(write):
    with_default = GOOD.replace("global_step, rng):", "global_step, rng, warmup=1):")
    assert submission.load(write(with_default)).update_params is not None
    text = problem_of(write(with_default.replace("warmup=1", "warmup"), "other.py"))
    assert "'warmup'" in text


@pytest.mark.parametrize("parameter", ["train_state", "train_state=None"])
def test_train_state_is_passed_where_the_signature_has_it(write, parameter):
    content = INIT + GET_BATCH_SIZE + SELECT
    content += UPDATE.replace("global_step, rng):", f"global_step, rng, {parameter}):")
    assert submission.load(write(content)).takes_train_state


def test_train_state_is_not_passed_where_the_signature_lacks_it(write):
    assert not submission.load(write()).takes_train_state


def test_a_missing_file_is_named(tmp_path):
    assert str(tmp_path / "none.py") in problem_of(tmp_path / "none.py")


def test_a_folder_is_no_submission_file(tmp_path):
    text = problem_of(tmp_path)
    assert "is a folder" in text and str(tmp_path / "submission.py") in text


def test_a_file_of_another_kind_is_refused(write):
    assert "ending in .py" in problem_of(write(GOOD, "submission.txt"))


def test_a_syntax_error_is_told_with_its_line(write):
    text = problem_of(write("x = 1\n\ndef broken(:\n    pass\n"))
    assert "submission.py, line 3: " in text


def test_a_syntax_error_in_a_sibling_names_the_sibling(write):
    write("x = 1\ny = = 2\n", "broken_sibling.py")
    assert "broken_sibling.py, line 2: " in problem_of(write("import broken_sibling\n"))


def test_a_missing_import_is_told_with_the_remedy(write):
    path = write("import no_such_package_anywhere\n" + GOOD)
    with pytest.raises(MissingDependency) as caught:
        submission.load(path)
    assert "imports 'no_such_package_anywhere', which is not installed" in str(
        caught.value
    )
    assert str(path.parent / "requirements.txt") in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("from math import no_such_name", "no_such_name"),
        ("raise RuntimeError('no GPU here')", "RuntimeError: no GPU here"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_submission_that_raises_at_import_is_told_with_its_line(
    write, statement, said
):
    text = problem_of(write(f"import math\n{statement}\n" + GOOD))
    assert said in text
    assert "submission.py, line 2" in text


def test_a_submission_that_raised_at_import_leaves_no_half_made_module(write):
    path = write("import no_such_package_anywhere\n")
    problem_of(path)
    files = [getattr(module, "__file__", None) for module in sys.modules.values()]
    assert str(path) not in files


@pytest.mark.parametrize(
    "requirements",
    [
        "numpy\n",
        "numpy>=1.0  # arrays\n\n# a comment\n",
        "NumPy\n",
        "-r other.txt\n--no-index\n",
        "no-such-package; python_version < '3'\n",
        "git+https://example.org/tools.git\n",
        "./wheels/tools-1.0-py3-none-any.whl\n",
    ],
)
def test_requirements_that_are_met_or_cannot_be_checked_pass(write, requirements):
    write(requirements, "requirements.txt")
    assert submission.load(write()).get_batch_size("any") == 8


def test_requirements_that_are_missing_are_all_named(write):
    write("numpy\nno-such-package>=2\nnumpy<1.0\n", "requirements.txt")
    text = problem_of(write())
    assert "asks for no-such-package>=2, numpy<1.0, which" in text
    assert "pip install -r" in text


def test_requirements_are_checked_before_the_submission_is_imported(write):
    write("no-such-package\n", "requirements.txt")
    assert "pip install -r" in problem_of(write("raise RuntimeError"))


def test_a_line_that_is_no_requirement_is_shown(write):
    write("numpy => 1\n", "requirements.txt")
    assert "'numpy => 1' is not a requirement" in problem_of(write())


def sized(write, body: str) -> submission.Submission:
    lines = textwrap.indent(textwrap.dedent(body), "    ")
    content = f"def get_batch_size(workload_name):\n{lines}\n" + INIT + UPDATE + SELECT
    return submission.load(write(content))


KNOWS_MNIST = """
sizes = {"mnist": 16}
if workload_name not in sizes:
    raise ValueError(workload_name)
return sizes[workload_name]
"""


def variant_of_mnist():
    wide = {"wide": Variant(Target("accuracy", 0.9, 0.9), model={"hidden_dim": 256})}
    base = dataclasses.replace(registry.definition("mnist"), variants=wide)
    return base.named("mnist_wide")


def test_the_batch_size_is_asked_for_by_the_workloads_name(write):
    loaded = sized(write, "return len(workload_name)")
    assert loaded.batch_size(registry.definition("mnist")) == (5, "submission")
    assert loaded.batch_size(variant_of_mnist()) == (10, "submission")


def test_a_variant_that_is_unknown_gets_the_size_of_its_base(write):
    loaded = sized(write, KNOWS_MNIST)
    assert loaded.batch_size(variant_of_mnist()) == (16, "submission, for mnist")


def test_a_mini_workload_that_is_unknown_gets_its_own_default(write):
    mini = registry.definition("mnist_mini")
    size, source = sized(write, KNOWS_MNIST).batch_size(mini)
    assert size == mini.default_batch_size
    assert source == "default of mnist_mini"


@pytest.mark.parametrize("size", ["0", "-8", "True", "8.0", "'8'", "None", "[8]"])
def test_a_batch_size_must_be_a_positive_integer(write, size):
    loaded = sized(write, f"return {size}")
    with pytest.raises(
        BadSubmission, match=r"get_batch_size\('mnist'\) returned"
    ) as caught:
        loaded.batch_size(registry.definition("mnist"))
    assert "positive int" in str(caught.value)


def test_a_batch_size_may_be_an_integer_of_numpy(write):
    loaded = sized(write, "import numpy\nreturn numpy.int64(8)")
    size, _ = loaded.batch_size(registry.definition("mnist"))
    assert type(size) is int and size == np.int64(8)


@pytest.mark.parametrize(
    "error", ["ValueError", "KeyError", "RuntimeError", "SystemExit"]
)
def test_a_base_workload_without_batch_size_is_one_message(write, error):
    loaded = sized(write, f"raise {error}('no size for ' + workload_name)")
    with pytest.raises(BadSubmission, match="no size for mnist") as caught:
        loaded.batch_size(registry.definition("mnist"))
    assert "get_batch_size('mnist')" in str(caught.value)


ERRORS = ["ValueError", "KeyError", "IndexError", "RuntimeError", "SystemExit"]


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_is_raised_for_a_mini_workload_means_that_it_is_unknown(write, error):
    mini = registry.definition("mnist_mini")
    loaded = sized(write, f"raise {error}(workload_name)")
    assert loaded.batch_size(mini) == (
        mini.default_batch_size,
        "default of mnist_mini",
    )


LOOK_UPS = {
    "a dict": "return {'mnist': 16}[workload_name]",
    "a dict's get": "return {'mnist': 16}.get(workload_name)",
    "a match": "match workload_name:\n    case 'mnist':\n        return 16",
    "a list": "return [16]['mnist'.index(workload_name)]",
    "not implemented": "if workload_name != 'mnist':\n    raise NotImplementedError\nreturn 16",
}


@pytest.mark.parametrize("what", LOOK_UPS)
def test_a_look_up_that_fails_for_a_variant_is_tried_with_its_base(write, what):
    loaded = sized(write, LOOK_UPS[what])
    assert loaded.batch_size(variant_of_mnist()) == (16, "submission, for mnist")


@pytest.mark.parametrize("what", LOOK_UPS)
def test_a_look_up_that_fails_for_a_mini_workload_gives_its_default(write, what):
    mini = registry.definition("mnist_mini")
    size, _ = sized(write, LOOK_UPS[what]).batch_size(mini)
    assert size == mini.default_batch_size


@pytest.mark.parametrize("what", ["a dict", "a dict's get"])
def test_a_base_workload_that_is_unknown_is_told_apart_from_a_wrong_answer(write, what):
    loaded = sized(write, LOOK_UPS[what])
    with pytest.raises(submission.UnknownBatchSize, match="'ogbg'"):
        loaded.batch_size(registry.definition("ogbg"))


@pytest.mark.parametrize("size", ["0", "-8", "8.0", "'8'"])
def test_a_wrong_answer_is_wrong_for_a_mini_workload_too(write, size):
    loaded = sized(write, f"return {size}")
    with pytest.raises(BadSubmission, match="positive int"):
        loaded.batch_size(registry.definition("mnist_mini"))


@pytest.mark.parametrize(
    "value",
    [
        "type('A', (), {'__repr__': lambda s: 1 / 0})()",
        "__import__('numpy').ones(3, int)",
        "'x' * 10_000_000",
    ],
)
def test_a_wrong_answer_is_shown_in_one_line_whatever_it_is(write, value):
    loaded = sized(write, f"return {value}")
    with pytest.raises(BadSubmission, match="positive int") as caught:
        loaded.batch_size(registry.definition("mnist"))
    assert len(str(caught.value)) < 500


UPDATE_ARGUMENTS = (
    "workload, current_param_container, current_params_types, model_state, hyperparameters, "
    "batch, loss_type, optimizer_state, eval_results, global_step, rng"
)
GOOD_KINDS = {
    "any keywords": "def update_params(**kwargs): pass",
    "any arguments": "def update_params(*args, **kwargs): pass",
    "keyword-only": f"def update_params(*, {UPDATE_ARGUMENTS}): pass",
    "partial": f"import functools\ndef f(lr, {UPDATE_ARGUMENTS}): pass\n"
    "update_params = functools.partial(f, 0.1)",
    "a lambda": "update_params = lambda **kwargs: None",
    "a bound method": f"class A:\n    def f(self, {UPDATE_ARGUMENTS}): pass\n"
    "update_params = A().f",
    "a static method": f"class A:\n    @staticmethod\n    def f({UPDATE_ARGUMENTS}): pass\n"
    "update_params = A.f",
    "a callable object": f"class A:\n    def __call__(self, {UPDATE_ARGUMENTS}): pass\n"
    "update_params = A()",
    "decorated": "import functools\ndef d(f):\n    @functools.wraps(f)\n"
    "    def g(*a, **k): return f(*a, **k)\n    return g\n"
    f"@d\ndef update_params({UPDATE_ARGUMENTS}): pass",
    "decorated without wraps": "def d(f):\n    return lambda *a, **k: f(*a, **k)\n"
    f"@d\ndef update_params({UPDATE_ARGUMENTS}): pass",
    "cached": f"import functools\n@functools.cache\ndef update_params({UPDATE_ARGUMENTS}): pass",
    "native": "update_params = dict",
    "without a signature": "import operator\nupdate_params = operator.methodcaller('x')",
    "a wrapped generator": "import functools\ndef d(f):\n    @functools.wraps(f)\n"
    "    def g(*a, **k): return list(f(*a, **k))\n    return g\n"
    f"@d\ndef update_params({UPDATE_ARGUMENTS}):\n    yield 1",
}
GOOD_KINDS.pop("native")  # `dict` is a class


@pytest.mark.parametrize("what", GOOD_KINDS)
def test_a_function_may_be_any_callable_that_returns_its_result(write, what):
    content = GET_BATCH_SIZE + INIT + SELECT + "\n" + GOOD_KINDS[what]
    assert submission.load(write(content)).get_batch_size("any") == 8


BAD_KINDS = {
    "a class": (
        "class update_params:\n    def __init__(self, **kwargs): pass",
        "is a class",
    ),
    "async": ("async def update_params(**kwargs): pass", "is an async function"),
    "a generator": ("def update_params(**kwargs):\n    yield", "is a generator"),
    "an async generator": (
        "async def update_params(**kwargs):\n    yield",
        "is an async generator",
    ),
    "an async partial": (
        "import functools\nasync def f(a, **kwargs): pass\n"
        "update_params = functools.partial(f, 1)",
        "is an async function",
    ),
    "an async object": (
        "class A:\n    async def __call__(self, **kwargs): pass\nupdate_params = A()",
        "is an async function",
    ),
    "a positional-only parameter": (
        f"def update_params({UPDATE_ARGUMENTS.replace('workload,', 'workload, /,')}): pass",
        "cannot be called",
    ),
    "only positions": ("def update_params(*args): pass", "cannot be called"),
    "no function": ("update_params = 3", "update_params is missing"),
    "a module": ("import math as update_params", "update_params is missing"),
}


@pytest.mark.parametrize("what", BAD_KINDS)
def test_a_callable_of_the_wrong_kind_is_told(write, what):
    code, said = BAD_KINDS[what]
    text = problem_of(write(GET_BATCH_SIZE + INIT + SELECT + "\n" + code))
    assert f"- {'the function ' if 'missing' in said else ''}update_params"[:9] in text
    assert said in text


def test_a_function_of_jax_may_be_jitted(write):
    pytest.importorskip("jax")
    jitted = GOOD.replace(
        "def update_params", "import jax\n@jax.jit\ndef update_params"
    )
    assert submission.load(write(jitted)).update_params is not None


def test_the_benchmark_itself_may_stand_in_the_requirements(write):
    write(
        "algoperf==0.6.1\nalgorithmic_efficiency @ git+https://example.org/x\n"
        "numpy>=1 --hash=sha256:abc\nnumpy \\\n  >=1.0\n-e .\n",
        "requirements.txt",
    )
    assert submission.load(write()).get_batch_size("any") == 8


def test_requirements_may_begin_with_a_mark_of_byte_order(write):
    write("\ufeffnumpy\n", "requirements.txt")
    assert submission.load(write()).get_batch_size("any") == 8


def test_requirements_that_are_no_text_are_named(write):
    write("", "requirements.txt").write_bytes("numpy".encode("utf-16"))
    assert "requirements.txt cannot be read" in problem_of(write())
