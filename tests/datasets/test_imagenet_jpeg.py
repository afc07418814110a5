"""Reading JPEG files: both decoders, partial decoding, files that are something else."""

import io

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image

from algoperf.datasets.imagenet import jpeg

KINDS = {
    "4:2:0": {"subsampling": "4:2:0"},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:4:4": {"subsampling": "4:4:4"},
    "optimised": {"optimize": True},
    "restart markers": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
}


def pixels(height=61, width=83):
    """Smooth waves with noise on them: uint8 [height, width, 3]."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], axis=-1)
    return (127 + 90 * waves + rng.normal(0, 12, waves.shape)).clip(0, 255).astype("u1")


def written(image=None, form="JPEG", **options):
    content = io.BytesIO()
    image = image or Image.fromarray(pixels())
    image.save(content, form, **({"quality": 90} if form == "JPEG" else {}), **options)
    return content.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_both_decoders_give_the_same_pixels(kind):
    pytest.importorskip("simplejpeg")
    content = written(**KINDS[kind])
    one, other = (
        decode(content)
        for decode in (jpeg.decode_with_simplejpeg, jpeg.decode_with_pillow)
    )
    assert one.shape == (61, 83, 3)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("num_rows", [1, 15, 16, 17, 40, 52, 53, 60, 61])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_rows_are_those_of_the_whole_image(kind, num_rows):
    content = written(**KINDS[kind])
    rows = jpeg.decode_rows(content, jpeg.read_header(content), num_rows)
    assert len(rows) >= num_rows
    np.testing.assert_array_equal(rows[:num_rows], jpeg.decode(content)[:num_rows])


def test_rows_that_are_not_wanted_are_not_decoded():
    content = written(Image.fromarray(pixels(height=400)))
    rows = jpeg.decode_rows(content, jpeg.read_header(content), 100)
    assert len(rows) < 150


def test_pillow_decodes_first_rows_too(monkeypatch):
    monkeypatch.setattr(jpeg, "_decoder", lambda: jpeg.decode_with_pillow)
    content = written()
    rows = jpeg.decode_rows(content, jpeg.read_header(content), 20)
    np.testing.assert_array_equal(rows[:20], jpeg.decode(content)[:20])


def test_pixels_go_into_memory_that_is_given():
    content = written()
    buffer = np.zeros(61 * 83 * 3, np.uint8)
    rows = jpeg.decode_rows(content, jpeg.read_header(content), 61, buffer)
    np.testing.assert_array_equal(rows, jpeg.decode(content))


def test_grey_images_become_three_equal_channels():
    image = jpeg.decode(written(Image.fromarray(pixels()[..., 0])))
    assert image.shape == (61, 83, 3)
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()


def test_the_header_tells_size_channels_and_kind():
    header = jpeg.read_header(written())
    assert (header.height, header.width, header.num_components) == (61, 83, 3)
    assert header.is_sequential
    assert not jpeg.read_header(written(progressive=True)).is_sequential
    grey = jpeg.read_header(written(Image.fromarray(pixels()[..., 0])))
    assert grey.num_components == 1


def test_fill_bytes_and_comments_before_the_frame_are_passed_over():
    content = written(comment=b"c" * 300)
    padded = content[:2] + b"\xff\xff" + content[2:]
    assert jpeg.read_header(padded).width == 83


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin like a JPEG"),
        (b"<html>", "does not begin like a JPEG"),
        (b"\xff\xd8\xff\xe0\x00\x10JF", "cut off in its JPEG header"),
        (b"\xff\xd8" + 100 * b"x", "header is damaged"),
        (b"\xff\xd8\xff\xda\x00\x08", "header is damaged"),
    ],
)
def test_what_has_no_header_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        jpeg.read_header(content)


def test_jpeg_files_of_colour_and_grey_are_kept_as_they_are():
    for image in (None, Image.fromarray(pixels()[..., 0])):
        content = written(image)
        assert jpeg.as_rgb_jpeg(content) == content


def test_bytes_after_the_end_of_the_image_do_no_harm():
    content = written() + bytes(100)
    assert jpeg.as_rgb_jpeg(content) == content


def mean_difference(content, expected):
    return np.abs(jpeg.decode(content).astype(float) - expected).mean()


def test_a_png_file_becomes_a_jpeg_file_of_its_pixels():
    content = jpeg.as_rgb_jpeg(written(form="PNG"))
    assert jpeg.read_header(content).num_components == 3
    assert mean_difference(content, pixels()) < 5


def test_a_cmyk_file_becomes_an_rgb_file_of_its_colours():
    image = Image.fromarray(pixels()).convert("CMYK")
    source = written(image)
    assert jpeg.read_header(source).num_components == 4
    content = jpeg.as_rgb_jpeg(source)
    assert jpeg.read_header(content).num_components == 3
    assert mean_difference(content, pixels()) < 5


@pytest.mark.parametrize(
    "content",
    [written()[:-200], written(form="PNG")[:-200], b"<html>moved</html>", b""],
    ids=["JPEG cut off", "PNG cut off", "text", "nothing"],
)
def test_what_is_no_whole_image_is_refused(content):
    with pytest.raises(ValueError):
        jpeg.as_rgb_jpeg(content)
