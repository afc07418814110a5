"""Makes the files in embedded/ from photographs that three packages ship.

    pip install scikit-image==0.26.0 scikit-learn==1.9.1 matplotlib==3.11.2
    python -m algoperf.datasets.imagenet.make_embedded

Each is made at most 512 pixels long and wide, and written as JPEG file; grey ones stay
grey. Licences: embedded/NOTICE.
"""

import importlib.util
from pathlib import Path

from PIL import Image

_LONGEST_SIDE = 512
_QUALITY = 88
_FOLDERS = {
    "skimage": "data",
    "sklearn": "datasets/images",
    "matplotlib": "mpl-data/sample_data",
}
_FILES = {
    "skimage": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "cell.png",
        "chelsea.png",
        "clock_motion.png",
        "coffee.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "microaneurysms.png",
        "retina.jpg",
        "rocket.jpg",
        "text.png",
    ),
    "sklearn": ("china.jpg", "flower.jpg"),
    "matplotlib": ("grace_hopper.jpg",),
}


def make_embedded(folder: Path) -> None:
    """Writes the 19 photographs."""
    for package, names in _FILES.items():
        found = importlib.util.find_spec(package)
        assert found is not None and found.origin is not None, package
        source = Path(found.origin).parent / _FOLDERS[package]
        for name in names:
            with Image.open(source / name) as image:
                image.thumbnail(
                    (_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS
                )
                path = folder / f"{Path(name).stem}.jpg"
                image.save(path, "JPEG", quality=_QUALITY, optimize=True, exif=b"")


if __name__ == "__main__":
    make_embedded(Path(__file__).parent / "embedded")
