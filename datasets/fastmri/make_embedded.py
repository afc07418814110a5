"""Makes the file in embedded/ from the ICBM 152 T1 average in the package nilearn.

    pip install nilearn==0.14.1   # brings nibabel
    python -m algoperf.datasets.fastmri.make_embedded

Of the template's 1 mm voxels, 2 x 2 x 2 are averaged; the empty border is cut off.
"""

import gzip
import io
from pathlib import Path
from typing import Any

import nibabel
import nilearn
import numpy as np

_TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_AIR = 3  # of 255: what is darker everywhere is border


def make_embedded(source: Path, folder: Path) -> None:
    """Writes template.npy.gz, uint8 [73, 91, 78]; the same bytes every time."""
    image: Any = nibabel.load(source)
    voxels = np.asarray(image.dataobj, np.float32)
    even = voxels[tuple(slice(size // 2 * 2) for size in voxels.shape)]
    x, y, z = (size // 2 for size in even.shape)
    mean = even.reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5))
    brain = np.round(255 * mean / mean.max()).astype(np.uint8)
    inside = np.argwhere(brain > _AIR)
    box = zip(inside.min(axis=0), inside.max(axis=0), strict=True)
    brain = brain[tuple(slice(first, last + 1) for first, last in box)]
    content = io.BytesIO()
    np.save(content, brain)
    packed = gzip.compress(content.getvalue(), compresslevel=9, mtime=0)
    (folder / "template.npy.gz").write_bytes(packed)


if __name__ == "__main__":
    installed = Path(nilearn.__file__).parent
    make_embedded(installed / _TEMPLATE, Path(__file__).parent / "embedded")
