"""Parameters that a notebook does not have are refused, as papermill alone does not."""

import os
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.notebook import prepare, unknown_parameters

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
