"""Parameters that a notebook does not have are refused, as papermill alone does not."""

import json
import os
import re
from pathlib import Path

import pytest
from repository import ROOT

from models.errors import ConfigError
from models.notebook import other_kinds, prepare, unknown_parameters

DEFAULTS = 'dataset = "ml-100k"\nseeds = None  # a list\n'


def test_names_that_the_notebook_does_not_set_are_found():
    injected = '# Parameters\ndataset = "a"\nsed = [\n    1,\n    2,\n]\n'
    assert unknown_parameters([DEFAULTS, injected, "other = 1"]) == (["sed"], ["dataset", "seeds"])


@pytest.mark.parametrize("cells", [[], [DEFAULTS], [DEFAULTS, "sed = 1"], [DEFAULTS, "# Parameters\nseeds = [1]\n"]])
def test_known_names_and_cells_that_are_not_papermills_pass(cells: list[str]):
    assert unknown_parameters(cells)[0] == []


def test_outside_of_a_session_there_is_nothing_to_refuse_and_the_folder_stays():
    before = Path.cwd()
    prepare()
    assert Path.cwd() == before


def test_a_notebook_in_its_folder_goes_to_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    prepare([])
    assert os.path.samefile(Path.cwd(), tmp_path)
    with pytest.raises(ConfigError, match="unknown parameter sed; this notebook has dataset, seeds"):
        prepare([DEFAULTS, "# Parameters\nsed = 1\n"])


@pytest.mark.parametrize(
    ("default", "given", "message"),
    [
        (
            "settings = {}",
            "'{heads: 1}'",
            r"settings should be a dictionary, not text; .* -y '\{settings: \{heads: 1\}\}'",
        ),
        ("settings = {}", "[1]", "settings should be a dictionary, not a list"),
        ("models = ['sasrec']", "'sasrec'", r"models should be a list, not text; .* -y '\{models: \[sasrec\]\}'"),
        (
            "seeds: 'list or None' = None",
            "42",
            r"seeds should be a list, not a whole number; .* -y '\{seeds: \[42\]\}'",
        ),
        ("seeds: 'list or dict or None' = None", "'[42]'", "seeds should be a list or a dictionary, not text"),
        ("seed = 42", "'many'", "seed should be a whole number, not text; got 'many'"),
        ("seed = 42", "4.5", "seed should be a whole number, not a number; got 4.5"),
        ("rate: 'float or None' = None", "'slow'", "rate should be a number, not text; got 'slow'"),
        ("dataset = 'ml-100k'", "42", r"dataset should be text, not a whole number; .* -y '\{dataset: \"42\"\}'"),
        ("resume = True", "0", "resume should be true or false, not a whole number; got 0"),
    ],
)
def test_values_of_another_kind_are_refused_with_the_way_to_give_them(default: str, given: str, message: str):
    name = default.split()[0].rstrip(":")
    with pytest.raises(ConfigError, match=message):
        prepare([default, f"# Parameters\n{name} = {given}\n"])


@pytest.mark.parametrize(
    ("default", "given"),
    [
        ("settings = {}", "{'heads': 1}"),
        ("models = ['a']", "['b', 'c']"),
        ("rate = 0.5", "1"),
        ("rate: 'float or None' = None", "1"),
        ("c = None", "'x'"),
        ("seeds: 'list or dict or None' = None", "{'sasrec': [1]}"),
        ("dataset = 'a'", "None"),
        ("path = str(1)", "2"),
    ],
)
def test_values_of_the_right_kind_pass(default: str, given: str):
    name = default.split()[0].rstrip(":")
    assert other_kinds([default, f"# Parameters\n{name} = {given}\n"]) == {}


def test_every_notebook_says_the_kind_of_its_lists():
    """A parameter that is a list, as its comment says, is one in its default or its annotation."""
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        [defaults] = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
        listed = re.findall(r"^(\w+).*?=.*# a list", defaults, flags=re.MULTILINE)
        injected = "# Parameters\n" + "\n".join(f"{name} = 'text'" for name in listed)
        assert set(other_kinds([defaults, injected])) == {*listed}
