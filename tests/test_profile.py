"""The names of the systems of a sensitivity figure."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.results import profile


def test_it_is_light_to_import():
    script = "import sys; from models.results import profile; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_systems_name_says_what_is_changed():
    assert profile.system("alpha", 0.1) == "bsarec-alpha0.1"
    assert profile.system("c", 5) == profile.system("c", 5.0) == "bsarec-c5"


def test_with_its_own_value_a_system_is_the_model_itself():
    assert profile.systems("c", [5, 1, 3], 3) == {1: "bsarec-c1", 3: "bsarec", 5: "bsarec-c5"}


def test_the_own_value_takes_part_where_the_grid_does_not_have_it():
    assert profile.systems("alpha", [0.5], 0.7) == {0.5: "bsarec-alpha0.5", 0.7: "bsarec"}


@given(st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), min_size=1), st.sampled_from([0.1, 0.9]))
def test_no_system_is_there_twice_and_values_ascend(values: list[float], own: float):
    found = profile.systems("alpha", values, own)
    assert len(set(found.values())) == len(found)
    assert list(found) == sorted({*values, own})


@pytest.mark.parametrize("setting", profile.SETTINGS)
def test_varied_settings_are_settings_of_the_model(setting: str):
    from models.registry import configure

    assert hasattr(configure(profile.MODEL, 10), setting)
