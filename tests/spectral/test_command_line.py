"""The users that a command measures."""

import pytest
import torch

from models import datasets
from spectral import full_windows


def test_probe_users_kept_for_their_full_window_are_left_out_of_measures_of_all_users(model):
    from spectral.command_line import Subject

    probe = model.probe
    subject = Subject(model, "x", probe.input_ids, probe.users.numpy(), torch.zeros_like(probe.uniform), None, 8)
    assert len(subject.full_windows()) == len(full_windows(probe.input_ids))
    with pytest.raises(datasets.DataError, match="at least 2 users"):
        subject.users(at_least=2)
