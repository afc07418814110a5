"""Folders that the tests of data sets share."""

import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tfds_folders(tmp_path_factory):
    """The same examples as raw files (`raw/<data set>`), and as tensorflow-datasets wrote
    them (`tfrecord`, `array_record`); see make_tfds_folders.py. Nothing may change them.
    """
    folder = tmp_path_factory.mktemp("tfds")
    with tarfile.open(Path(__file__).with_name("tfds_folders.tar.xz")) as packed:
        packed.extractall(folder, filter="data")
    return folder
