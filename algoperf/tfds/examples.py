"""The examples in the records: `tf.train.Example`, parsed by protobuf."""

import functools
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from algoperf import packages
from algoperf.errors import BadData
from algoperf.tfds.records import Place, read

# Field names and numbers of tensorflow/core/example/{example,feature}.proto.
_LISTS = {"bytes_list": 1, "float_list": 2, "int64_list": 3}
_PACKAGE = "algoperf.tfds"


class Example:
    """One example: its features by name. content: the record, if it was read already."""

    def __init__(self, place: Place, content: bytes | None = None) -> None:
        self.place = place
        record = read(place) if content is None else content
        message = _message_class()()
        try:
            message.ParseFromString(record)
        except Exception as error:  # protobuf's DecodeError
            raise self.bad("it is no tf.train.Example") from error
        self._features = message.features.feature

    def has(self, name: str) -> bool:
        """Whether the example has such a feature."""
        return name in self._features

    def content(self, name: str) -> bytes:
        """A feature of one value of bytes."""
        values = self._values(name, "bytes_list")
        if len(values) != 1:
            raise self.bad(f"{name!r} has {len(values)} values, not one")
        return bytes(values[0])

    def text(self, name: str) -> str:
        """A feature of one text."""
        try:
            return self.content(name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.bad(f"{name!r} is no UTF-8 text") from error

    def number(self, name: str) -> int:
        """A feature of one integer."""
        values = self._values(name, "int64_list")
        if len(values) != 1:
            raise self.bad(f"{name!r} has {len(values)} values, not one")
        return int(values[0])

    def integers(self, name: str) -> np.ndarray:
        """A feature of integers: int64 [n]."""
        return np.array(self._values(name, "int64_list"), np.int64)

    def floats(self, name: str) -> np.ndarray:
        """A feature of numbers: float32 [n]."""
        return np.array(self._values(name, "float_list"), np.float32)

    def pixels(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A feature that is an image file, decoded: uint8 of that shape."""
        pillow = packages.load("PIL.Image", "Decoding stored images")
        try:
            with pillow.open(io.BytesIO(self.content(name))) as image:
                pixels = np.asarray(image)
        except BadData:
            raise
        except Exception as error:  # Pillow raises anything for damaged images
            raise self.bad(f"{name!r} is no image") from error
        if pixels.dtype != np.uint8 or pixels.shape != shape:
            raise self.bad(f"{name!r} has the shape {pixels.shape}, not {shape}")
        return pixels

    def bad(self, reason: str) -> BadData:
        """The error for an example that is not as it should be."""
        return BadData(
            f"{self.place.shown}: {reason}. It is not of this data set, or damaged: let "
            "tensorflow-datasets prepare it again."
        )

    def _values(self, name: str, kind: str) -> Sequence[Any]:
        if name not in self._features:
            known = ", ".join(sorted(self._features)) or "none"
            raise self.bad(f"it has no feature {name!r} (it has {known})")
        feature = self._features[name]
        given = feature.WhichOneof("kind")
        if given not in (kind, None):
            raise self.bad(f"{name!r} is a {given}, not a {kind}")
        values: Sequence[Any] = getattr(feature, kind).value
        return values


@functools.cache
def _message_class() -> Any:
    """`tf.train.Example`, described here, so that no generated code is needed."""
    user = "Reading examples of tensorflow-datasets"
    load = functools.partial(packages.load, user=user, extra="tfds")
    descriptors = load("google.protobuf.descriptor_pb2")
    pools = load("google.protobuf.descriptor_pool")
    factory = load("google.protobuf.message_factory")
    file = descriptors.FileDescriptorProto(
        name="algoperf/tfds/example.proto", package=_PACKAGE, syntax="proto3"
    )
    field = descriptors.FieldDescriptorProto
    types = (field.TYPE_BYTES, field.TYPE_FLOAT, field.TYPE_INT64)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for (name, number), value_type in zip(_LISTS.items(), types, strict=True):
        values = file.message_type.add(name=name)
        values.field.add(name="value", number=1, type=value_type, label=3)
        _add(feature, name, number, name, oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=1)
    _add(entry, "value", 2, "Feature")
    _add(features, "feature", 1, "Features.FeatureEntry", label=3)
    _add(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = pools.DescriptorPool()
    pool.Add(file)
    return factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


def _add(message: Any, name: str, number: int, kind: str, **options: Any) -> None:
    """Adds a field that holds a message; label 1: at most one, 3: any number."""
    message.field.add(
        **{"label": 1, **options},
        name=name,
        number=number,
        type=11,  # TYPE_MESSAGE
        type_name=f".{_PACKAGE}.{kind}",
    )
