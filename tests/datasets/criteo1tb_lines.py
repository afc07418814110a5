"""Lines of the Criteo logs, made and parsed for tests."""

from algoperf.datasets.criteo1tb import text


def line(label="0", integers=(), categories=()):
    """A line of text; what is not given is empty."""
    integers = [*integers, *[""] * (13 - len(integers))]
    categories = [*categories, *[""] * (26 - len(categories))]
    return "\t".join([label, *integers, *categories]) + "\n"


def parse(content):
    """Labels, logarithms and buckets of a text."""
    return text.parse(content.encode(), "day_0.gz", 1)
