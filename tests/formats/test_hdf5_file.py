"""HDF5 where there is room, and where there is none."""

import resource

import h5py
import numpy as np
import pytest

from enformer_keras.formats.hdf5_file import Hdf5Output

VALUES = np.arange(60_000, dtype=np.float32).reshape(-1, 10)


def write(path):
    output = Hdf5Output(path)
    try:
        with h5py.File(output, "w") as file:
            rows = file.create_dataset("x", (0, 10), maxshape=(None, 10), chunks=(64, 10), dtype=np.float32)
            for first in range(0, len(VALUES), 1000):
                rows.resize(first + 1000, axis=0)
                rows[first:] = VALUES[first : first + 1000]
        output.check()
    finally:
        output.close()


def test_the_file_is_that_of_a_path(tmp_path):
    write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][:], VALUES)


def test_no_room_is_one_error(tmp_path, capfd):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*x.h5"):
            write(tmp_path / "x.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capfd.readouterr().err == ""
