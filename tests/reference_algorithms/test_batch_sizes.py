"""The published batch sizes."""

import pytest

from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("criteo1tb", 262_144),
        ("fastmri", 32),
        ("finewebedu_lm", 64),
        ("imagenet_resnet", 1_024),
        ("imagenet_resnet_silu", 512),
        ("imagenet_resnet_gelu", 512),
        ("imagenet_vit", 1_024),
        ("librispeech_conformer", 256),
        ("librispeech_deepspeech", 256),
        ("ogbg", 512),
        ("wmt", 128),
        ("mnist", 16),
    ],
)
def test_published_batch_size(name, size):
    assert get_batch_size(name) == size


@pytest.mark.parametrize("name", ["wmt_post_ln", "ogbg_mini", "mnist_mini", "nothing"])
def test_other_names_are_left_to_the_harness(name):
    with pytest.raises(ValueError, match=name):
        get_batch_size(name)
