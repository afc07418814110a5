"""Settings and constants of the input pipeline; needs no package, not even numpy."""

from dataclasses import dataclass

# Of red, green and blue in 0..255; of the published pipelines.
MEAN = (123.675, 116.28, 103.53)
STDDEV = (58.395, 57.12, 57.375)

# numpy's OpenBLAS would spread each of the small products that resize an image over all
# cores, where threads of the pipeline work already.
ENVIRONMENT = {
    framework: {"OPENBLAS_NUM_THREADS": "1"} for framework in ("jax", "pytorch")
}


@dataclass(frozen=True)
class DataConfig:
    """How images become inputs; the defaults are those of `imagenet_resnet`."""

    image_size: int = 224  # of the inputs, in pixels
    # Evaluation keeps the middle image_size / resize_size of the short side.
    resize_size: int = 256
    randaugment: bool = False
    mixup_alpha: float | None = None  # None: no mixup
    num_classes: int = 1000
    num_threads: int | None = None  # of one process; None: its share of the cores
