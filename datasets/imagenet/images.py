"""What an image of ImageNet offers, in whatever kind of file it lies."""

from typing import Protocol


class AnyImage(Protocol):
    """An image, wherever it is: `RawImage` or `stored.StoredImage`."""

    @property
    def name(self) -> str:
        """Its file's name."""
        ...

    @property
    def class_name(self) -> str:
        """The name of its class."""
        ...

    @property
    def size(self) -> int:
        """Its size in bytes."""
        ...

    @property
    def shown(self) -> str:
        """Its name for people."""
        ...

    def read(self) -> bytes:
        """Its bytes."""
        ...
