"""Two processes of PyTorch under one launcher: who is blamed, and for what."""

import textwrap

import pytest
from test_bad_input import SPACE, SUBMISSION

from algoperf import logs
from algoperf.logs import Outcome
from algoperf.runner import experiment
from algoperf.runner.launch import WrongInput
from algoperf.runner.settings import Settings


@pytest.fixture
def run(digits, tmp_path):
    """Runs a submission with the given update on two processes; the only trial's logs."""
    pytest.importorskip("torch")

    def execute(body, batch_size=64):
        path = tmp_path / "submission.py"
        head = textwrap.dedent(SUBMISSION).replace("return 64", f"return {batch_size}")
        path.write_text(head + textwrap.indent(textwrap.dedent(body), "    "))
        (tmp_path / "space.json").write_text(SPACE)
        settings = Settings(
            submission_path=path,
            framework="pytorch",
            workload="mnist_mini",
            experiment_dir=tmp_path / "logs",
            experiment_name="two",
            data_dir=digits,
            search_space=tmp_path / "space.json",
            num_trials=1,
            num_studies=1,
            num_processes=2,
        )
        assert not experiment.run(settings, lambda text: None)
        (trial,) = logs.read(tmp_path / "logs")
        return trial

    return execute


def test_a_batch_size_that_two_processes_cannot_share_is_wrong_input(run, tmp_path):
    with pytest.raises(WrongInput, match="17 cannot be divided by the 2 devices"):
        run("pass", batch_size=17)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("raise ValueError('on rank 1')", "in process 1: update_params failed"),
        ("import os; os._exit(3)", "the process exited with status 3"),
    ],
)
def test_the_process_that_failed_first_tells_why(run, act, words):
    trial = run(f"""
        import os
        if os.environ["RANK"] == "1":
            {act}
        return optimizer_state, current_param_container, model_state
    """)
    assert trial.outcome is Outcome.SUBMISSION_CRASHED
    assert words in trial.reason


@pytest.mark.slow
def test_a_process_that_is_killed_is_a_fault_of_the_machine(run):
    trial = run("""
        import os
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), 9)
        return optimizer_state, current_param_container, model_state
    """)
    assert trial.outcome is Outcome.INFRASTRUCTURE_CRASHED
    assert "SIGKILL" in trial.reason
