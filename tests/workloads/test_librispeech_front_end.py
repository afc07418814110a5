"""The audio front end, SpecAugment and greedy decoding: numpy in place of a framework."""

import numpy as np
import pytest

from algoperf.workloads._speech import (
    front_end,
    mel,
    outputs,
    spec_augment,
    subsampling,
)

BINS = [0, 5, 10, 11, 12, 20, 40, 79]
INDEX = np.arange(16_000)
WAVE = ((INDEX * 7_919 + 104_729 * (INDEX % 17)) % 2_001 - 1_000.0)[np.newaxis]


@pytest.fixture(scope="module")
def exact():
    """The published features of `WAVE`, in float64."""
    tables = mel.FrontEndTables(
        mel.hann_window(), mel.mel_weights(), mel.MEAN, mel.STDDEV
    )
    return front_end.unnormalised_log_mel(np, tables, WAVE)[0]


def test_the_mel_filters_are_the_published_ones():
    weights = mel.mel_weights()
    assert weights.shape == (257, 80)
    assert weights.sum() == pytest.approx(234.9483964453011, abs=1e-9)
    assert np.count_nonzero(weights) == 470
    counts = np.count_nonzero(weights, axis=0)[[0, 1, 2, 10, 40, 79]]
    assert counts.tolist() == [1, 2, 2, 2, 4, 15]


def test_the_normalisation_is_the_published_one():
    assert mel.MEAN.shape == mel.STDDEV.shape == (80,)
    assert mel.MEAN.sum() == pytest.approx(-520.6695022583008, abs=1e-10)
    assert mel.STDDEV.sum() == pytest.approx(286.17760586738586, abs=1e-10)


def test_features_are_the_published_ones(exact):
    first = [-11.51292546, -8.49018547, -9.57849211, -8.74692428]
    first += [-8.76449812, -8.47709492, -3.66442661, -2.39946242]
    later = [-10.68645123, -8.11041801, -9.13854528, -9.56100552]
    later += [-9.5228303, -9.77720152, -3.84849704, -2.09672535]
    assert exact.shape == (98, 80)
    np.testing.assert_allclose(exact[0, BINS], first, atol=1e-7)
    np.testing.assert_allclose(exact[50, BINS], later, atol=1e-7)
    assert exact.mean() == pytest.approx(-4.835770741328049, abs=1e-10)


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_frameworks_compute_the_features_in_float32(framework, exact):
    pytest.importorskip(framework)
    if framework == "jax":
        import jax.numpy as xp
    else:
        xp = pytest.importorskip("array_api_compat.torch")
    tables = mel.FrontEndTables(*(xp.asarray(table) for table in mel.tables()))
    signal = xp.asarray(WAVE.astype(np.float32))
    found, paddings = front_end.log_mel(xp, tables, signal, xp.zeros_like(signal))
    normalised = (exact - mel.MEAN) / mel.STDDEV
    np.testing.assert_allclose(np.asarray(found)[0], normalised, atol=5e-5)
    assert np.asarray(paddings).tolist() == [[0.0] * 98]


def test_twenty_seconds_have_1998_frames():
    assert mel.num_frames(320_000) == 1_998


@pytest.mark.parametrize("samples", [0, 1, 160, 161, 1_999, 4_000])
def test_a_frame_is_valid_if_any_of_its_samples_is(samples):
    paddings = (np.arange(4_000) >= samples).astype(np.float32)[np.newaxis]
    found = front_end.frame_paddings(paddings)[0]
    spans = [paddings[0, 160 * i : 160 * i + 401].min() for i in range(len(found))]
    assert found.tolist() == spans
    assert (found == 0).sum() == min(mel.num_frames(4_000), -(-samples // 160))


def test_what_lies_in_padding_has_no_effect():
    tables, paddings = mel.tables(), np.zeros(WAVE.shape, np.float32)
    paddings[:, 9_000:] = 1
    clean, dirty = WAVE * (1 - paddings), WAVE
    a, b = (front_end.log_mel(np, tables, x, paddings)[0] for x in (clean, dirty))
    np.testing.assert_array_equal(a, b)


def test_windows_of_the_convolutions_are_tensorflows_at_the_published_size():
    assert subsampling.padding(1_998, subsampling.TIME_BEFORE[0]) == (0, 1)
    assert subsampling.padding(999, subsampling.TIME_BEFORE[1]) == (1, 1)
    assert subsampling.padding(80, subsampling.MEL_BEFORE[0]) == (0, 1)
    assert subsampling.padding(40, subsampling.MEL_BEFORE[1]) == (0, 1)
    assert subsampling.halved(subsampling.halved(1_998)) == 500


KEY = np.array([123, 456], np.uint32)


def test_random_numbers_are_uniform():
    numbers = spec_augment.uniforms(np, KEY, 2_000, 12).ravel()
    assert numbers.min() >= 0 and numbers.max() < 1
    counts, _ = np.histogram(numbers, bins=16, range=(0, 1))
    # 3,000 expected in each; five standard deviations.
    assert abs(counts - 3_000).max() < 5 * np.sqrt(3_000)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02


def test_random_numbers_depend_on_both_words_of_the_key():
    first = spec_augment.uniforms(np, KEY, 4, 3)
    for word in (0, 1):
        other = KEY.copy()
        other[word] += 1
        assert not np.isclose(spec_augment.uniforms(np, other, 4, 3), first).any()


def test_random_numbers_of_a_part_are_those_of_the_global_batch():
    whole = spec_augment.uniforms(np, KEY, 6, 12)
    part = spec_augment.uniforms(np, KEY, 2, 12, first_example=4)
    np.testing.assert_array_equal(part, whole[4:])


def test_random_numbers_are_the_same_in_jax():
    jnp = pytest.importorskip("jax.numpy")
    np.testing.assert_array_equal(
        spec_augment.uniforms(jnp, jnp.asarray(KEY), 3, 12),
        spec_augment.uniforms(np, KEY, 3, 12),
    )


def augmented(config, numbers, valid, frames=400):
    features = np.ones((len(numbers), frames, 80), np.float32)
    paddings = (np.arange(frames) >= np.asarray(valid)[:, np.newaxis]) * 1.0
    positions = np.arange(frames, dtype=np.float32)
    return spec_augment.augment(
        np, config, features, paddings.astype(np.float32), numbers, positions
    )


def masked_by_the_rules(config, numbers, valid, frames=400):
    """The published rules, mask by mask."""
    expected = np.ones((len(numbers), frames, 80), np.float32)
    for row, example, size in zip(expected, numbers, valid, strict=True):
        for u, place in example[: config.time_masks]:
            share = np.float32(config.max_time_share)
            length = min(int(u * share * size), max(int(share * size), 1))
            start = int(place * np.float32(size - length + 1))
            row[start : start + length] = 0
        for u, place in example[config.time_masks :]:
            length = min(int(u * np.float32(config.max_frequency_bins)), 80)
            start = int(place * np.float32(80 - length + 1))
            row[:, start : start + length] = 0
    return expected


def test_masks_follow_the_published_rules():
    config = spec_augment.SpecAugment()
    numbers = spec_augment.uniforms(np, KEY, 8, config.num_masks)
    valid = [400, 399, 200, 100, 41, 19, 1, 0]
    np.testing.assert_array_equal(
        augmented(config, numbers, valid), masked_by_the_rules(config, numbers, valid)
    )


def test_a_configuration_without_masks_changes_nothing():
    config = spec_augment.SpecAugment(time_masks=0, frequency_masks=0)
    numbers = spec_augment.uniforms(np, KEY, 2, 0)
    assert (augmented(config, numbers, [400, 100]) == 1).all()


def decoded(best, num_frames):
    best = np.asarray(best)
    scores = np.eye(5)[best]
    is_frame = np.arange(best.shape[1]) < np.asarray(num_frames)[:, np.newaxis]
    return outputs.greedy(np, scores, is_frame).tolist()


def test_decoding_collapses_repeats_and_drops_blanks():
    assert decoded([[1, 1, 0, 1, 2, 2, 3]], [7]) == [[1, 1, 2, 3, 0, 0, 0]]


def test_decoding_ends_with_the_valid_frames():
    found = decoded([[1, 2, 3, 4], [4, 4, 4, 4]], [2, 0])
    assert found == [[1, 2, 0, 0], [0, 0, 0, 0]]


def evaluated(**changes):
    logits = np.zeros((3, 4, 5)), np.zeros((3, 4))
    tokens = np.array([[1, 2, 0], [3, 3, 3], [0, 0, 0]], np.int32)
    batch = {"targets": (tokens, (tokens == 0) * 1.0), **changes}
    return outputs.outputs(np, logits, batch, np.ones(3))


def test_an_infeasible_utterance_is_counted_apart_from_the_tokens():
    found = evaluated()  # three equal tokens need five frames
    assert found["num_tokens"].tolist() == [2, 0, 0]
    assert found["num_infeasible"].tolist() == [0, 1, 0]


def test_rows_of_weight_0_count_nothing():
    found = evaluated(weights=np.array([0.0, 0.0, 1.0]))
    assert found["num_tokens"].tolist() == [0, 0, 0]
    assert found["num_infeasible"].tolist() == [0, 0, 0]
    assert found["weights"].tolist() == [0, 0, 1]
