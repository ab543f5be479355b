"""Architectures of installed packages: found by an entry point, trained and loaded by name, broken ones named."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.registry import KNOWN, MODELS, configure, installed, model_type

Call = Callable[..., tuple[int, str, str]]
Install = Callable[..., None]
DATA = "synthetic:users=60,items=40"
CLASS = "from models.architectures.sasrec import SASRec\nclass Mine(SASRec): ...\n"
REGISTERED = f"import models\n{CLASS}models.register('mine')(Mine)\n"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Forget what a test registers."""
    known = dict(MODELS), dict(KNOWN)
    yield
    for names, before in zip((MODELS, KNOWN), known, strict=True):
        names.clear()
        names.update(before)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution with one module and one entry point on the path, as an installer would leave it."""

    def make(source: str, entry: str, distribution: str = "their-models") -> None:
        module = f"{distribution.replace('-', '_')}_{abs(hash((source, tmp_path)))}"  # Python keeps modules by name
        folder = tmp_path / distribution
        about = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        about.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[models.architectures]\n{entry.format(module)}\n")
        monkeypatch.syspath_prepend(str(folder))

    return make


@pytest.mark.parametrize(
    ("source", "entry"), [(CLASS, "mine = {}:Mine"), (REGISTERED, "mine = {}:Mine"), (REGISTERED, "mine = {}")]
)
def test_it_is_trained_and_loaded_by_name_alone(call: Call, install: Install, source: str, entry: str):
    install(source, entry)
    assert "mine" not in KNOWN
    options = ("--dataset", DATA, "--epochs", 1, "--hidden-size", 8, "--max-len", 10, "--out", "a.pt")
    code, _, err = call("models.train", "--model", "mine", *options)
    assert code == 0 and MODELS["mine"].__name__ == "Mine", err
    del sys.modules[MODELS["mine"].__module__]  # as in another process
    for names in (MODELS, KNOWN):
        del names["mine"]
    code, out, err = call("models.evaluate", "a.pt", "--json")
    assert code == 0 and set(json.loads(out)) >= {"HR@5", "MRR"}, err
    code, out, err = call("spectral.filter_response", "a.pt", "--json", "--format", "csv")
    assert code == 0 and json.loads(out)["model"] == "mine", err


@pytest.mark.parametrize(
    ("source", "entry", "reason"),
    [
        ("import nothing_at_all", "mine = {}:Mine", "ModuleNotFoundError: No module named 'nothing_at_all'"),
        ("1 / 0", "mine = {}", "ZeroDivisionError: division by zero"),
        (CLASS, "mine = {}:Other", "AttributeError: module"),
        (CLASS, "mine = {}", "it registers no 'mine', and is no class"),
        ("Mine = dict", "mine = {}:Mine", "takes a class of models.recommender.Recommender, got <class 'dict'>"),
        (REGISTERED, "other = {}:Mine", "it registers 'mine', so that must be the entry point's name"),
    ],
)
def test_a_broken_one_is_named_with_its_distribution(
    call: Call, install: Install, source: str, entry: str, reason: str
):
    install(source, entry)
    name = entry.partition(" ")[0]
    code, out, err = call("models.train", "--model", name, "--dataset", DATA)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith(f"error: the entry point {name} = their_models_")
    assert "of their-models in models.architectures cannot be used: " in err and reason in err


def test_two_distributions_with_one_name_are_named(install: Install):
    install(CLASS, "mine = {}:Mine")
    install(CLASS, "mine = {}:Mine", "further-models")
    with pytest.raises(ConfigError, match=r"have one name: .* of (their|further)-models; .* of .*; uninstall all but"):
        configure("mine", 9)


def test_names_of_ours_are_ours_and_installed_ones_are_suggested(install: Install):
    install("raise SystemExit", "sasrec = {}:Mine")
    assert model_type("sasrec").title == "SASRec"
    install(CLASS, "mine = {}:Mine", "further-models")
    with pytest.raises(ConfigError, match=r"choose one of .*, mine, or name the file .*did you mean 'mine'"):
        model_type("mime")
    assert "mine" not in KNOWN and not installed("mime") and installed("mine") and KNOWN["mine"].name == "mine"
