"""How every command line ends: exit codes, messages, and JSON that any parser reads."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from models import command_line
from models.errors import CheckpointError, ConfigError, DataError


def run(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as stop:
        command_line.run(main)
    return stop.value.code


def failing(error):
    def main() -> None:
        raise error

    return main


def test_success_is_exit_code_0(monkeypatch, capsys):
    def main(number: int) -> None:
        print(number + 1)

    assert run(monkeypatch, main, "41") == 0
    assert capsys.readouterr() == ("42\n", "")


@pytest.mark.parametrize("kind", [DataError, CheckpointError, ConfigError])
def test_a_user_error_is_a_message_and_exit_code_2(monkeypatch, capsys, kind):
    assert run(monkeypatch, failing(kind("alpha must be from 0 to 1, got 7"))) == 2
    assert capsys.readouterr() == ("", "error: alpha must be from 0 to 1, got 7\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.pt"), "a.pt: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("the connection broke"), "the connection broke"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_operating_system_error_names_the_file(monkeypatch, capsys, error, said):
    assert command_line.describe(error) == said
    assert run(monkeypatch, failing(error)) == 2
    assert capsys.readouterr() == ("", f"error: {said}\n")


def test_a_real_failure_to_write_is_described(tmp_path):
    with pytest.raises(OSError) as raised:
        (tmp_path / "missing" / "file").write_text("")
    expected = f"{tmp_path / 'missing' / 'file'}: No such file or directory"
    assert command_line.describe(raised.value) == expected


def test_ctrl_c_is_exit_code_130(monkeypatch, capsys):
    assert run(monkeypatch, failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_a_wrong_option_is_exit_code_2(monkeypatch, capsys):
    def main(epochs: int = 1) -> None:
        """Do nothing."""

    assert run(monkeypatch, main, "--epochs", "many") == 2
    assert run(monkeypatch, main, "--nonsense") == 2
    out, err = capsys.readouterr()
    assert out == "" and "epochs" in err and "nonsense" in err


@pytest.mark.parametrize("error", [RuntimeError("bug"), ValueError("bug"), AssertionError("bug")])
def test_a_fault_of_ours_keeps_its_traceback(monkeypatch, error):
    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(type(error), match="bug"):
        command_line.run(failing(error))


def test_an_exit_code_of_the_program_is_kept(monkeypatch):
    assert run(monkeypatch, failing(typer.Exit(3))) == 3


def test_json_is_one_line_on_standard_output(capsys):
    command_line.print_json({"HR@5": 0.25, "users": [1, 2]})
    assert capsys.readouterr() == ('{"HR@5": 0.25, "users": [1, 2]}\n', "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


def expected_json(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [expected_json(item) for item in value]
    if isinstance(value, dict):
        return {key: expected_json(item) for key, item in value.items()}
    return value


@settings(max_examples=50)
@given(value=json_values)
def test_json_reads_back_with_null_for_what_json_cannot_hold(value):
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", printed.append)
        command_line.print_json(value)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(printed[0], parse_constant=refuse) == expected_json(value)


def test_json_takes_numpy_torch_and_paths(capsys):
    import torch

    command_line.print_json(
        {
            "numpy": [np.float32("nan"), np.float64("inf"), np.int64(3), np.array([1.0, -np.inf])],
            "torch": torch.tensor([0.5, float("nan")]),
            "path": Path("a") / "b",
        }
    )
    expected = {"numpy": [None, None, 3, [1.0, None]], "torch": [0.5, None], "path": "a/b"}
    assert json.loads(capsys.readouterr().out) == expected


def test_devices_that_exist_are_returned():
    import torch

    assert command_line.check_device("cpu") == "cpu"
    assert command_line.check_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta", "hpu", "xla"])
def test_a_device_that_cannot_be_used_is_named_in_one_line(name):
    with pytest.raises(ConfigError) as raised:
        command_line.check_device(name)
    message = str(raised.value)
    assert message.startswith(f"device {name!r} cannot be used") and message.endswith("or auto")
    assert "\n" not in message and len(message) < 400


def test_where_a_device_is_chosen_gpus_compute_in_float32_as_it_is(monkeypatch):
    import torch

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        command_line.check_device("cpu")
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)
