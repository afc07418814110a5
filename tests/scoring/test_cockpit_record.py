"""What the screens know of a trial comes from its recorded target."""

import numpy as np
from scoring_cases import trial

from algoperf.scoring.cockpit.record import Record

TARGET = {"metric": "accuracy", "better": "higher", "validation": 0.9, "test": 0.8}


def record(meta) -> Record:
    made = trial("a", "w", [(1.0, 0.5), (2.0, 0.7)], meta=meta)
    return Record("a on w", made.folder, None, made, {}, False)


def test_the_evaluations_are_of_the_targets_metric():
    found = record({"target": TARGET})
    assert found.metric == "accuracy"
    series = found.evaluated("validation")
    np.testing.assert_array_equal(series.steps, [1.0, 2.0])
    np.testing.assert_array_equal(series.values, [0.5, 0.7])


def test_a_trial_without_a_target_has_no_evaluations_to_show():
    found = record({})
    assert found.metric == "metric"
    assert not found.evaluated("validation")
