"""How data become inputs, as values."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ImagesConfig:
    """How the images of a data set become inputs."""

    dataset: Literal["mnist", "fashion_mnist", "cifar10", "cifar100", "svhn"]
    standardised: bool = False  # each image by its own mean and deviation; else / 255
    augmented: bool = False  # training images are cropped and recoloured …
    flipped: bool = False  # … and mirrored
    # An autoencoder's batches have the images as targets, and noise for its latent point.
    latent_dim: int | None = None


@dataclass(frozen=True)
class TextConfig:
    """How the text becomes sequences."""

    sequence_length: int = 50


@dataclass(frozen=True)
class ImagenetConfig:
    """How photographs become inputs."""

    image_size: int = 224  # of the inputs, in pixels
    resize_size: int = 256  # what the short side becomes before the inputs are cut out
    first_class: int = 1  # the number of the first class; 0 is the background
