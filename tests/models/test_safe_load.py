"""Files are read without running code, and what cannot be read is named for what it is."""

import collections
import datetime
import decimal
import gzip
import io
import os
import pathlib
import pickle
import sys
import types
import uuid
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from third_party_states.small import GIVEN, bsarec_state, scores
from torch import nn

import models
from models.errors import CheckpointError


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def test_a_truncated_file_is_named_as_one(checkpoint, tmp_path):
    path = tmp_path / "cut.pt"
    path.write_bytes(checkpoint.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"cut\.pt: is truncated"):
        models.load(path)


@pytest.mark.parametrize("data", [b"not a checkpoint", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x80\x02", bytes(64)])
def test_another_file_is_not_a_checkpoint(data, tmp_path):
    path = tmp_path / "other.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"other\.pt: is not a checkpoint"):
        models.load(path)


def test_an_empty_file_is_empty(tmp_path):
    (tmp_path / "empty.pt").touch()
    with pytest.raises(CheckpointError, match="is empty"):
        models.load(tmp_path / "empty.pt")


class Attack:
    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_with_code_is_refused_and_not_run(write, tmp_path):
    attack = Attack()
    attack.folder = tmp_path / "ran"
    write({"format": attack}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="would run code when read; it was not executed"):
        models.load(tmp_path / "evil.pt")
    assert not attack.folder.exists()


def test_reading_needs_no_more_than_tensors_and_plain_values(checkpoint):
    torch.load(io.BytesIO(checkpoint.read_bytes()), weights_only=True)


def test_safetensors_are_read_with_their_metadata(their_file, tmp_path):
    from safetensors.torch import save_file

    save_file(bsarec_state(), tmp_path / "model.any", metadata={"num_heads": "2", "alpha": "0.3", "c": "9"})
    assert torch.equal(scores(models.load(tmp_path / "model.any")), scores(models.load(their_file, **GIVEN)))
    data = (tmp_path / "model.any").read_bytes()
    (tmp_path / "cut.any").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="is a damaged safetensors file"):
        models.load(tmp_path / "cut.any")


def test_without_the_package_for_safetensors_its_name_is_said(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    save_file(bsarec_state(), tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(CheckpointError, match="is a safetensors file; to read it: pip install safetensors"):
        models.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "a JPEG image"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "a Git LFS pointer, not the file itself"),
        (gzip.compress(b"weights"), "compressed with gzip; unpack it first"),
        (b"\x93NUMPY\x01\x00" + bytes(50), "a NumPy array"),
        (zipped("a.npy", "b.npy"), r"NumPy arrays \(.npz\)"),
        (zipped("notes.txt"), "a zip archive of other files"),
        (b'{"num_heads": 2}', "JSON text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",  # zip and gzip hold the time
)
def test_a_file_of_another_kind_is_named_for_what_it_is(tmp_path, data, kind):
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"model\.pt: is not a checkpoint but {kind}"):
        models.load(tmp_path / "model.pt")


@pytest.mark.parametrize("zip_format", [True, False])
def test_a_whole_pickled_model_is_named_as_one_and_what_to_do_is_said(tmp_path, zip_format):
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "whole.pt", _use_new_zipfile_serialization=zip_format)
    with pytest.raises(CheckpointError, match=r"a whole pickled model .*not executed; .*torch\.save\(model\.state"):
        models.load(tmp_path / "whole.pt")


def test_torchscript_is_named(tmp_path):
    (tmp_path / "scripted.pt").write_bytes(zipped("scripted/data.pkl", "scripted/constants.pkl", "scripted/code/a.py"))
    with pytest.raises(CheckpointError, match="is a TorchScript model"):
        models.load(tmp_path / "scripted.pt")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("legacy", [False, True])
def test_plain_objects_beside_the_weights_are_stand_ins(their_file, tmp_path, protocol, legacy):
    beside = [
        datetime.datetime(2024, 1, 5, tzinfo=datetime.UTC),
        datetime.timedelta(1),
        pathlib.PurePosixPath("/runs/a"),
        collections.defaultdict(list, {1: [2]}),
        decimal.Decimal("1.5"),
        uuid.UUID(int=7),
        types.SimpleNamespace(a=1),
        range(3),
        slice(1, 2),
        np.bool_(True),
        np.datetime64("2024-01-05"),
        pd.Timestamp("2024-01-05"),
    ]
    content = {"state_dict": bsarec_state(), "beside": beside}
    torch.save(content, tmp_path / "a.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    assert torch.equal(scores(models.load(tmp_path / "a.pt", **GIVEN)), scores(models.load(their_file, **GIVEN)))
