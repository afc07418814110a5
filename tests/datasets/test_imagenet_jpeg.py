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
def test_pixels_are_those_of_the_fast_dct(kind):
    """TensorFlow's default, with which the targets were set."""
    simplejpeg = pytest.importorskip("simplejpeg")
    content = written(**KINDS[kind])
    fast, accurate = (
        simplejpeg.decode_jpeg(content, "RGB", fastdct=is_fast)
        for is_fast in (True, False)
    )
    decoded = jpeg.decode(content)
    assert decoded.shape == (61, 83, 3)
    np.testing.assert_array_equal(decoded, fast)
    assert (decoded != accurate).any()


@pytest.mark.parametrize("kind", KINDS)
def test_pillow_gives_the_pixels_of_the_accurate_dct(kind):
    simplejpeg = pytest.importorskip("simplejpeg")
    content = written(**KINDS[kind])
    accurate = simplejpeg.decode_jpeg(content, "RGB")
    pillows = jpeg.decode_with_pillow(content)
    np.testing.assert_array_equal(pillows, accurate)
    # Rounding: a level or two, however smooth or rough the image is.
    assert np.abs(jpeg.decode(content) - pillows.astype(float)).mean() < 2


STRAYS = {  # where stray bytes are put: before the first marker of this kind
    "before the tables": b"\xff\xdb",
    "before the frame": b"\xff\xc0",
    "before the scan": b"\xff\xda",
}


def with_strays(content, marker, strays=b"\x00\x15\xff\x00"):
    at = content.index(marker)
    return content[:at] + strays + content[at:]


@pytest.mark.parametrize("decoder", ["simplejpeg", "pillow"])
@pytest.mark.parametrize("place", STRAYS)
def test_stray_bytes_between_header_segments_change_no_pixel(place, decoder):
    pytest.importorskip("simplejpeg")
    decode = getattr(jpeg, f"decode_with_{decoder}")
    content = written()
    stray = with_strays(content, STRAYS[place])
    assert jpeg.read_header(stray).width == 83
    assert jpeg.as_rgb_jpeg(stray) == stray
    np.testing.assert_array_equal(decode(stray), decode(content))


@pytest.mark.parametrize("place", STRAYS)
def test_the_first_rows_of_a_file_with_stray_bytes_are_the_same(place):
    content = written(Image.fromarray(pixels(height=400)))
    stray = with_strays(content, STRAYS[place])
    rows = jpeg.decode_rows(stray, jpeg.read_header(stray), 100)
    assert len(rows) < 150
    np.testing.assert_array_equal(rows[:100], jpeg.decode(content)[:100])


def test_what_simplejpeg_refuses_is_decoded_with_pillow(monkeypatch):
    def refuse(content, buffer=None):
        raise ValueError("no")

    monkeypatch.setattr(jpeg, "decode_with_simplejpeg", refuse)
    content = written()
    np.testing.assert_array_equal(
        jpeg._decode_with_either(content), jpeg.decode_with_pillow(content)
    )


def test_an_image_of_more_pixels_than_any_is_refused_before_memory_is_taken():
    content = bytearray(written())
    frame = jpeg.read_header(content).frame
    content[frame + 1 : frame + 5] = b"\xff\xff\xff\xff"
    with pytest.raises(ValueError, match="65535x65535 pixels"):
        jpeg.as_rgb_jpeg(bytes(content))


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
