"""The draw of held-out workloads: reproducible, and fair enough."""

from collections import Counter

import pytest

from algoperf.errors import BadSettings
from algoperf.rulesets import RULESETS
from algoperf.scoring.held_out import draw

VARIANTS = {base: [f"{base}_{x}" for x in "xyz"] for base in "abcdefgh"}


def test_the_draw_is_this_one_for_ever():
    drawn = ["a_z", "b_z", "c_z", "d_z", "e_x", "f_y", "g_x", "h_y"]
    assert draw("2024-11-01", VARIANTS, RULESETS["paper"]) == drawn


def test_the_documented_recipe_gives_the_same():
    import hashlib

    def number(text: str) -> int:
        return int(hashlib.sha256(text.encode()).hexdigest(), 16)

    expected = [f"{base}_{'xyz'[number(f's:{base}') % 3]}" for base in "abcdefgh"]
    assert draw("s", VARIANTS, RULESETS["paper"]) == expected
    bases = sorted(sorted("abcdefgh", key=lambda base: number(f"s:bases:{base}"))[:6])
    assert [name[0] for name in draw("s", VARIANTS, RULESETS["v0.5"])] == bases


def test_order_of_the_variants_does_not_matter():
    backwards = {base: names[::-1] for base, names in reversed(VARIANTS.items())}
    for rules in RULESETS.values():
        assert draw("s", VARIANTS, rules) == draw("s", backwards, rules)


def test_v06_draws_nothing():
    assert draw("s", VARIANTS, RULESETS["v0.6"]) == []


def test_every_variant_is_drawn_about_equally_often():
    counts = Counter(
        name
        for seed in range(600)
        for name in draw(str(seed), VARIANTS, RULESETS["paper"])
    )
    assert len(counts) == 24
    assert min(counts.values()) > 140 and max(counts.values()) < 260


def test_a_base_without_variants_is_left_out():
    assert draw("s", {"a": []}, RULESETS["paper"]) == []


def test_an_empty_seed_is_refused():
    with pytest.raises(BadSettings, match="seed"):
        draw(" ", VARIANTS, RULESETS["paper"])
