"""Arrays and tensors come back as they were saved, and unreadable files are named."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from glta.storage.arrays import (
    joined,
    load_arrays,
    map_arrays,
    part_of,
    save_arrays,
    sparse_arrays,
    sparse_from,
)
from glta.storage.tensors import load_checked, load_tensors, save_checked, save_tensors


def test_arrays_and_meta_come_back(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.int32).reshape(2, 3).T, "b": np.array([0.1, np.nan])}
    save_arrays(tmp_path / "deep" / "x.safetensors", arrays, {"names": ["ü"]})
    found, meta = load_arrays(tmp_path / "deep" / "x.safetensors")
    assert meta == {"names": ["ü"]}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_mapped_arrays_are_those_that_are_read(tmp_path):
    path = tmp_path / "x.safetensors"
    arrays = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "b": np.array([0.1, np.nan]),
        "c": np.arange(3, dtype=np.uint8),
        "d": np.float32([[1.5]]),
        "e": np.empty((0, 4), np.uint32),
    }
    save_arrays(path, arrays, {"names": ["ü"]})
    found, meta = map_arrays(path)
    assert meta == {"names": ["ü"]}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0] = 1
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        map_arrays(path)
    with pytest.raises(FileNotFoundError):
        map_arrays(tmp_path / "absent.safetensors")


def test_arrays_and_tensors_have_one_format(tmp_path):
    values = np.array([1.5, 2.5], np.float32)
    save_arrays(tmp_path / "arrays", {"x": values}, {"k": 1})
    save_tensors(tmp_path / "tensors", {"x": torch.from_numpy(values)}, {"k": 1})
    assert (tmp_path / "arrays").read_bytes() == (tmp_path / "tensors").read_bytes()


@pytest.mark.parametrize("load", [load_arrays, load_tensors])
def test_unreadable_and_missing_files_are_named(tmp_path, load):
    (tmp_path / "x.safetensors").write_bytes(b"no such format")
    with pytest.raises(ValueError, match=r"x\.safetensors: not a readable safetensors .*delete it"):
        load(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError, match=r"y\.safetensors"):
        load(tmp_path / "y.safetensors")


def test_a_device_without_memory_does_not_make_a_file_damaged(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    save_tensors(tmp_path / "x", {"x": torch.zeros(1)})
    monkeypatch.setattr("glta.storage.tensors.safe_open", fail)
    with pytest.raises(torch.OutOfMemoryError):
        load_tensors(tmp_path / "x")


def test_changed_numbers_of_a_cache_are_noticed(tmp_path, capsys):
    path = tmp_path / "x.safetensors"
    assert load_checked(path) is None
    save_checked(path, {"x": torch.tensor([1.0, 2.0])}, {"k": 1})
    tensors, meta = load_checked(path)
    assert tensors["x"].tolist() == [1.0, 2.0]
    assert meta == {"k": 1}
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert load_checked(path) is None
    assert not path.exists()
    assert "x.safetensors: is damaged and was deleted" in capsys.readouterr().err


def test_parts_are_told_apart():
    one, two = np.zeros(1), np.ones(1)
    arrays = joined({"graph": {"x": one}, "graphs": {"x": two}})
    assert list(arrays) == ["graph.x", "graphs.x"]
    assert part_of(arrays, "graph") == {"x": one}


def test_a_sparse_matrix_is_rebuilt():
    matrix = csr_array(np.array([[0, 2, 0], [0, 0, 0], [3, 0, 4]], np.float32))
    found = sparse_from("m", sparse_arrays("m", matrix))
    assert found.shape == matrix.shape
    assert found.dtype == matrix.dtype
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())
