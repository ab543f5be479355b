"""What a profile says, and how it names mistakes: without Snakemake."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from repository import ROOT

from models.datasets import names
from models.errors import ConfigError
from models.registry import configure
from models.results.profile import VARIED_MODEL, VARIED_SETTINGS, varied_system, varied_systems
from models.results.profile_file import read_profile
from models.train import train

PROFILES = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))


def profile(name: str = "paper", **given: object):
    return read_profile({"profile": name, **given}, ROOT)


def test_a_dataset_that_is_a_file_is_named_again_wherever_a_checkpoint_says_it(tmp_path):
    (tmp_path / "own.txt").write_text("1 1 2 3 4\n")
    file = str(tmp_path / "own.txt")
    assert profile("smoke", dataset=file).figure_parameters("own", "fig2_filter")["data"] == file
    assert profile("paper").data_file("lastfm") is None


def test_systems_are_named_after_the_setting_that_they_change():
    assert varied_system("alpha", 0.1) == "bsarec-alpha0.1"
    assert varied_system("c", 5) == varied_system("c", 5.0) == "bsarec-c5"


def test_a_model_with_its_own_value_is_not_trained_twice():
    assert varied_systems("c", [5, 1, 3], 3) == {1: "bsarec-c1", 3: "bsarec", 5: "bsarec-c5"}
    assert varied_systems("alpha", [0.5], 0.7) == {0.5: "bsarec-alpha0.5", 0.7: "bsarec"}


@given(st.lists(st.integers(1, 9)), st.integers(1, 9))
def test_every_value_has_a_system_in_ascending_order(values: list[int], own: int):
    found = varied_systems("c", values, own)
    assert list(found) == sorted({*values, own}) and len(set(found.values())) == len(found)
    assert found[own] == VARIED_MODEL


@pytest.mark.parametrize("setting", VARIED_SETTINGS)
def test_the_varied_model_has_these_settings(setting: str):
    assert hasattr(configure(VARIED_MODEL, 10), setting)


@pytest.mark.parametrize("name", PROFILES)
def test_every_system_of_a_profile_can_be_trained_on_every_dataset(name: str):
    found = profile(name)
    arguments = set(inspect.signature(train).parameters)
    for system in found.systems:
        for dataset in found.datasets:
            settings = found.settings_for(system, dataset)
            of_model = {key: value for key, value in settings.items() if key not in arguments} | settings.get(
                "settings", {}
            )
            configure(settings["model"], 100, **of_model)
    for dataset, system, seed in found.listed():
        assert found.training_parameters(dataset, system, seed)["out"].endswith(f"{dataset}/{system}-seed{seed}.pt")


def test_settings_go_from_the_general_to_the_particular():
    found = profile(dataset="lastfm")
    assert found.settings_for("bsarec", "lastfm")["alpha"] == 0.9
    assert found.settings_for("bsarec", "beauty")["learning_rate"] == 0.0005
    assert found.settings_for("bsarec-alpha0.1", "lastfm")["alpha"] == 0.1
    assert found.settings_for("sasrec-ce-16", "lastfm") == found.training | {
        "model": "sasrec",
        "loss": "ce",
        "num_heads": 2,
        "num_layers": 16,
    }
    assert found.seeds_of("bsarec") == [42, 43, 44, 45, 46] and found.seeds_of("caser") == [42, 43, 44]
    assert found.shown("fig4_architecture") == ["bsarec"] and "duorec-16" in found.behind("fig3_oversmoothing")
    assert found.behind("fig2_filter") == ["sasrec", "bsarec"]


def test_figures_of_curves_take_the_summaries_of_all_seeds_that_are_there(tmp_path: Path):
    found = profile(figures=str(tmp_path))
    folder = tmp_path / "lastfm/runs/paper"
    folder.mkdir(parents=True)
    names = ("sasrec-seed45", "sasrec-seed42", "sasrec-ce-seed43", "sasrec-16-seed42", "bsarec-seedx")
    for name in names:
        (folder / f"{name}.spectral.npz").touch()
    seeds = found.seeds_drawn("fig3_oversmoothing", "lastfm")
    assert (seeds["sasrec"], seeds["sasrec-ce"], seeds["sasrec-16"], seeds["bsarec"]) == ([42, 45], [43], [42], [42])
    assert found.seeds_drawn("fig3_oversmoothing", "beauty")["sasrec"] == [42]  # none is there
    drawn = found.drawn_from("fig7_beta", "lastfm")
    assert drawn == [f"{folder}/bsarec-seed42{kind}" for kind in (".spectral.npz", ".json")]
    parameters = found.figure_parameters("lastfm", "fig2_filter")
    assert parameters["seeds"] == {"sasrec": [42, 45], "bsarec": [42]}
    assert (parameters["null"], parameters["draws"]) == (["all"], 5)
    layers = found.figure_parameters("lastfm", "fig2_layers")
    assert "seeds" not in layers and layers["null"] == ["all"]
    assert found.drawn_from("fig2_layers", "lastfm") == [
        f"runs/paper/lastfm/{m}-seed42.pt" for m in ("sasrec", "bsarec")
    ]
    only_those = replace(found, missing="name")
    assert only_those.seeds_drawn("fig3_oversmoothing", "lastfm").keys() == {"sasrec", "sasrec-ce", "sasrec-16"}
    notebooks = ["fig2_filter", "fig2_layers", "fig7_beta"]  # of a summary, of checkpoints, and of none that is there
    assert (
        only_those.drawable(notebooks, "lastfm") == ["fig2_filter"] and only_those.drawable(notebooks, "beauty") == []
    )
    assert found.drawable(notebooks, "beauty") == notebooks
    quick = profile("quick")
    assert quick.seeds_drawn("fig2_filter", "ml-100k") is None and quick.nulls == ["uniform", "untrained"]
    assert quick.drawn_from("fig7_beta", "ml-100k") == ["runs/quick/ml-100k/bsarec-seed42.pt"]


def test_given_keys_go_on_top_and_text_becomes_numbers():
    found = profile("quick", training={"epochs": "3", "learning_rate": "1e-3"}, seeds={"default": ["1"]})
    assert found.training == {"epochs": 3, "learning_rate": 0.001, "patience": 10}
    assert found.seeds["default"] == [1]
    local = profile("quick", dataset="synthetic:users=5,seed=2")
    assert local.datasets == {"synthetic-users=5,seed=2": "synthetic:users=5,seed=2"}
    assert list(profile("quick").datasets) == names()


def test_results_of_profiles_lie_apart(tmp_path: Path):
    paths = {profile(name, figures="f").result for name in PROFILES}
    assert len(paths) == len(PROFILES) and "f/{dataset}/runs/paper/{system}-seed{seed}.json" in paths


def test_figures_over_datasets_take_the_results_that_are_there(tmp_path: Path):
    grid = {"alpha": [0.1], "c": [1]}
    found = profile(figures=str(tmp_path), seeds={"sensitivity": [1]}, sensitivity=grid, run_list=[])
    assert found.varied_datasets("alpha") == {"lastfm": "paper"}  # nothing is there
    for dataset, name in (("lastfm", "paper"), ("ml-100k", "quick"), ("toys", "smoke")):
        for path in found.varied_results("alpha", dataset, name):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch()
    assert found.varied_datasets("alpha") == {"lastfm": "paper", "toys": "smoke", "ml-100k": "quick"}
    asked = replace(found, sensitivity=replace(found.sensitivity, datasets=["beauty"]))
    assert asked.varied_datasets("alpha") == {"beauty": "paper"}


def test_a_block_of_the_run_list_is_its_own_part_of_it():
    found = profile()
    blocks = [profile(block=number).listed() for number in range(1, len(found.run_list) + 1)]
    assert [run for block in blocks for run in block] == found.listed() and ("lastfm", "bsarec-16", 42) in blocks[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profile": "fast"}, "unknown profile 'fast'; expected one of paper, quick, smoke"),
        ({"epochs": 3}, "config/quick.yaml or --config: unknown key 'epochs'; expected one of block, checkpoints"),
        ({"dataset": "lastfn"}, "config/quick.yaml or --config, dataset: unknown 'lastfn'; expected one of beauty"),
        ({"models": "bsarec"}, r"models: must be a list, as in --config 'models=\[bsarec\]', got 'bsarec'"),
        ({"models": ["bsarek"]}, "models: unknown 'bsarek'; expected one of bert4rec, bsarec"),
        ({"figure_models": {"fig2": ["x"]}}, "figure_models, fig2: unknown 'x'"),
        ({"nulls": ["uniforn"]}, "nulls: unknown 'uniforn'; expected one of all, shuffled, uniform, untrained"),
        ({"tables": {"table_main": ["x"]}}, "tables, table_main: unknown 'x'"),
        ({"sensitivity": {"alpha": 3}}, r"sensitivity, alpha: needs a list of numbers.*'sensitivity=.alpha: \[1, 3"),
        ({"sensitivity": {"beta": [1]}}, "sensitivity: unknown key 'beta'; expected one of alpha, baselines, c"),
        ({"sensitivity": {"baselines": ["gpt"]}}, "sensitivity, baselines: unknown 'gpt'"),
        ({"sensitivity": {"datasets": ["beaty"]}}, "sensitivity, datasets: unknown 'beaty'"),
        ({"run_list": [{"datasets": ["beauty"]}]}, "run_list, block 1: needs datasets, systems, seeds, each a list"),
        ({"run_list": [{"datasets": ["x"], "systems": [], "seeds": []}]}, "run_list, block 1: unknown 'x'"),
        ({"block": 1}, r"block: must lie in 1..0, got 1"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(changes: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        read_profile({"profile": "quick", **changes}, ROOT)


def test_a_file_without_a_key_is_named(tmp_path: Path):
    (tmp_path / "config").mkdir()
    content = yaml.safe_load((ROOT / "config/quick.yaml").read_text())
    del content["seeds"]
    (tmp_path / "config/mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"config/mine.yaml: lacks seeds"):
        read_profile({"profile": "mine"}, tmp_path)
    with pytest.raises(ConfigError, match="unknown profile 'quick'"):
        read_profile({}, tmp_path / "elsewhere")


def test_a_model_that_is_varied_needs_a_value_of_its_own():
    found = profile("smoke", model_settings={"bsarec": {"alpha": None}})
    with pytest.raises(ConfigError, match="bsarec needs its own alpha on synthetic"):
        found.varied_systems("alpha", "synthetic")


def test_the_figure_of_successors_has_further_files_and_what_they_do_not_say():
    files = {"a.pt": {"heads": "4", "alpha": "0.3"}, "b.pt": {}}
    found = profile(dataset="lastfm", checkpoints=files, data_dir="here").figure_parameters("lastfm", "successors")
    assert found["models"] == ["sasrec", "fmlprec", "bsarec", "tvrec", "wearec", "slime4rec", "lowarec"]
    assert found["checkpoints"] == ["a.pt", "b.pt"] and found["settings"]["a.pt"] == {"heads": 4, "alpha": 0.3}
    assert found["data_dir"] == "here"
    with pytest.raises(ConfigError, match=r"checkpoints: must be a mapping .* got \['a\.pt'\]"):
        profile(dataset="lastfm", checkpoints=["a.pt"])


def test_a_watched_run_keeps_a_third_file_and_the_others_two():
    found = profile("smoke")
    kept = {s: [Path(path).name for path in found.files_of("synthetic", s, 1)] for s in ("sasrec", "sasrec-ce-gfsa")}
    assert kept["sasrec"] == ["sasrec-seed1.json", "sasrec-seed1.spectral.npz"]
    assert kept["sasrec-ce-gfsa"][2:] == ["sasrec-ce-gfsa-seed1.watch.csv"]


def test_the_comparison_of_remedies_differs_in_nothing_else():
    found = profile("paper")
    for dataset in found.remedies_datasets:
        reference = found.settings_for("sasrec-ce-watched", dataset)
        for system in found.remedies.systems:
            settings = found.settings_for(system, dataset)
            assert settings["watch"] and settings.get("loss", "ce") == "ce"
            same = {"epochs", "patience", "batch_size", "hidden_size", "max_len", "dropout", "learning_rate"}
            assert {key: settings[key] for key in same} == {key: reference[key] for key in same}
            if settings["model"] == "sasrec":
                changed = {key for key in settings | reference if settings.get(key) != reference.get(key)}
                assert changed <= {"remedy", "num_layers"}
            depth = 8 if system.endswith("-8") else None
            assert settings.get("num_layers") == depth
            assert found.seeds_of(system) == ([42] if depth else [42, 43, 44])
    assert {run for run in replace(found, block=4).listed()} >= {
        ("lastfm", "sasrec-ce-gfsa", 44),
        ("ml-100k", "bsarec-wavelet", 42),
    }


def test_missing_runs_of_remedies_are_trained_or_named(tmp_path: Path):
    found = replace(profile("paper"), figures=str(tmp_path))
    there = Path(found.files_of("lastfm", "sasrec-ce-watched", 42)[0])
    there.parent.mkdir(parents=True)
    there.touch()
    for notebook in ("remedies", "dynamics"):
        assert len(found.remedies_files("lastfm", notebook)) > 1
        assert replace(found, missing="name").remedies_files("lastfm", notebook) == [str(there)]


def test_deeper_runs_are_in_the_figure_of_dynamics_once_they_are_there(tmp_path: Path):
    found = replace(profile("paper"), figures=str(tmp_path))
    deep = "sasrec-ce-watched-16"
    paths = [Path(path) for path in found.files_of("lastfm", deep, 42)]
    for path in paths:
        assert deep not in found.remedies_parameters("lastfm", "dynamics")["models"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert found.remedies_parameters("lastfm", "dynamics")["models"] == [*found.remedies.dynamics, deep]
    assert set(map(str, paths)) < set(found.remedies_files("lastfm", "dynamics"))
    assert deep not in found.remedies_systems("ml-100k", "dynamics") + found.remedies_systems("lastfm", "remedies")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"remedies": {"systems": "sasrec"}}, "remedies, systems: must be a list, got 'sasrec'"),
        ({"remedies": {"system": []}}, "remedies: unknown key 'system'; expected one of datasets, dynamics, if_there"),
        ({"remedies": {"dynamics": ["sasrec-9"]}}, "remedies, dynamics: unknown 'sasrec-9'"),
        ({"remedies": {"datasets": ["moon"]}}, "remedies, datasets: unknown 'moon'"),
    ],
)
def test_a_wrong_comparison_of_remedies_is_named(given: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        profile("smoke", **given)
