from algoperf.deferred_logits import num_parts


def test_small_logits_are_one_part():
    assert num_parts(16, 128, 1_024) == 1
    assert num_parts(4, 1_024, 50_257) == 1


def test_large_logits_are_cut_along_the_length_until_a_part_is_a_gigabyte():
    assert num_parts(64, 1_024, 50_257) == 16
    assert num_parts(256, 1_024, 50_257) == 64


def test_parts_have_equal_lengths():
    assert num_parts(64, 1_023, 50_257) == 31  # 1,023 = 3 * 11 * 31


def test_a_part_is_at_least_one_token_of_each_sequence():
    assert num_parts(10**6, 7, 50_257) == 7
