"""`python -m models.datasets` lists, fetches and describes."""

import json
import subprocess
import sys

import pytest

from models import datasets
from models.command_line import run_app
from models.datasets.__main__ import app


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function that runs the command line and returns (exit code, output, error output)."""
    monkeypatch.setenv("SPECTRAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SPECTRAL_DATA_DIR", raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["models.datasets", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run_app(app)
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("1 5 6 7\n2 8 9 8 9\n3 4\n")
    return path


def test_it_runs_as_a_module_without_torch_or_pandas():
    code = (
        "import sys, runpy; sys.argv = ['x', 'list', '--json']\n"
        "try: runpy.run_module('models.datasets', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print(sorted({'torch', 'pandas', 'torchmetrics', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert [row["name"] for row in json.loads(done.stdout)["datasets"]] == datasets.names()


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_the_list_names_every_dataset(command, arguments):
    code, out, _ = command(*arguments)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()][:8] == datasets.names()


def test_the_list_shows_which_files_are_here(command, tmp_path):
    (tmp_path / "Beauty.txt").touch()
    _, out, _ = command("list", "--data-dir", tmp_path, "--json")
    paths = {row["name"]: row["path"] for row in json.loads(out)["datasets"]}
    assert paths == dict.fromkeys(datasets.names()) | {"beauty": str(tmp_path / "Beauty.txt")}


def test_a_description_holds_the_numbers(command, data):
    code, out, _ = command("describe", data, "--json", "--max-len", 3)
    assert code == 0
    [row] = json.loads(out)["datasets"]
    sequences = datasets.load(data)
    assert row == {
        "name": "mine",
        "users": 2,
        "items": 9,
        "interactions": 7,
        "skipped_users": 1,
        "length": {"min": 3, "mean": 3.5, "median": 3.5, "max": 4},
        "density": 7 / 18,
        "max_len": 3,
        "training_samples": len(sequences.prefixes(3)),
        "full_windows": 0.5,
        "padding": pytest.approx(1 / 6),
        "fingerprint": sequences.fingerprint,
    }


@pytest.mark.parametrize("max_len", [1, 2, 49, 50])
def test_the_counts_are_those_of_the_samples(command, max_len):
    _, out, _ = command("describe", "synthetic", "--json", "--max-len", max_len)
    [row] = json.loads(out)["datasets"]
    sequences = datasets.load("synthetic")
    assert row["training_samples"] == len(sequences.prefixes(max_len))
    inputs = sequences.windows("test", max_len).inputs
    assert row["full_windows"] == (inputs[:, 0] > 0).mean()
    assert row["padding"] == pytest.approx((inputs == 0).mean())


def test_a_description_for_people(command, data):
    code, out, _ = command("describe", data, "synthetic:seed=1")
    assert code == 0
    assert "mine\n  users             2 (1 with fewer than 3 items skipped)\n" in out
    assert "  density           38.889%\n" in out
    assert "synthetic:seed=1\n" in out


def test_fetching_what_is_generated_needs_nothing(command):
    assert command("fetch", "synthetic:seed=1", "--json") == (
        0,
        '{"files": {"synthetic:seed=1": null}}\n',
        "",
    )
    assert command("fetch", "synthetic")[1] == "synthetic: generated, nothing to fetch\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("describe", "imaginary"), "error: 'imaginary' is neither a file nor a known dataset"),
        (("fetch", "imaginary"), "error: 'imaginary' is neither a file nor a known dataset"),
        (("describe", "synthetic:users=0", "--json"), "error: synthetic: users must be at least 1, got 0"),
        (("fetch", "beauty", "--data-dir", "/nowhere"), "error: the data folder /nowhere is not a folder"),
        (("describe",), "Missing argument"),
        (("describe", "synthetic", "--max-len", "0"), "max-len"),
        (("sing",), "No such command"),
    ],
)
def test_wrong_use_ends_with_a_message_and_code_2(command, arguments, said):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
