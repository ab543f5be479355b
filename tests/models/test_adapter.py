"""Adapters: what a function may return, what is said of mistakes, and models that are registered by name."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from toy import ITEMS, N, Toy, histories

import models
from models.adapter import Adapted, ForeignModel, import_file, load_or_adapt, open_adapted
from models.architectures.sasrec import SASRec, SASRecConfig
from models.checkpoint import Probe, read
from models.errors import ConfigError
from models.registry import KNOWN, MODELS, build, configure, register
from models.train import train
from models.training import Trainer

Call = Callable[..., tuple[int, str, str]]
DATA = "synthetic:users=60,items=40"
REGISTERED = """
import models
from models.architectures.sasrec import SASRec

@models.register("mine")
class Mine(SASRec): ...
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Forget what a test registers."""
    known = dict(MODELS), dict(KNOWN)
    yield
    for names, before in zip((MODELS, KNOWN), known, strict=True):
        names.clear()
        names.update(before)


@pytest.mark.parametrize(
    ("source", "adapter", "message"),
    [
        (None, "mine.py:load", "there is no such Python file"),
        (None, "mine.py", "there is no such Python file"),
        ("def load(path): ...", "mine.txt:load", "there is no such Python file"),
        ("def other(path): ...", "mine.py:load", "has no function 'load'; it has other"),
        ("load = 3", "mine.py:load", "has no function 'load'; it has none"),
        (
            "def load(path): return 7",
            "mine.py:load",
            "must return (model, windows) or a models.adapter.Adapted, got int",
        ),
        ("def load(path): return 7, [[1]]", "mine.py:load", "must be an nn.Module or another callable, got int"),
        ("def load(path): return print, [[.5]]", "mine.py:load", "windows must be whole numbers"),
        ("def load(path): return print, [1, 2]", "mine.py:load", "windows must be whole numbers"),
        ("def load(path): return print, [[1, 0]]", "mine.py:load", "must have their padding (0) on the left"),
        ("def load(path): return print, {'x': [[1]]}", "mine.py:load", "the windows hold x; give windows"),
        ("def load(path):\n    return path.nothing", "mine.py:load", "line 2 of mine.py failed with AttributeError"),
        ("import nothing_at_all", "mine.py:load", "line 1 of mine.py failed with ModuleNotFoundError"),
        ("def load(path:", "mine.py:load", "line 1 of mine.py failed with SyntaxError"),
        ("def load(path): return open(path / 'x')", "mine.py:load", "No such file"),
    ],
)
@pytest.mark.parametrize("command", ["spectral.smoothing", "models.evaluate"])
def test_mistakes_end_in_one_line(call: Call, tmp_path: Path, command: str, source, adapter: str, message: str):
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    code, out, err = call(
        command, "nothing.pt", "--adapter", adapter, *(["--data", DATA] if "models" in command else [])
    )
    assert code == 2 and out == "" and message in err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_settings_of_third_party_files_are_not_taken_silently(call: Call, tmp_path: Path):
    (tmp_path / "mine.py").write_text("def load(path): return print, [[1]]")
    code, _, err = call("spectral.smoothing", "nothing.pt", "--adapter", "mine.py:load", "--heads", 2)
    assert code == 2 and "its function takes no settings; drop heads" in err


def test_a_recommender_of_ours_is_taken_as_it_is(tmp_path: Path, checkpoint: Path):
    (tmp_path / "mine.py").write_text("import models\ndef load(path): return models.load(path)\n")
    model = load_or_adapt(checkpoint, f"{tmp_path}/mine.py:load")
    assert model.title == "BSARec" and isinstance(model.probe, Probe)
    (tmp_path / "mine.py").write_text(
        "from models.registry import *\ndef load(path): return build(configure('sasrec', 9))"
    )
    with pytest.raises(ConfigError, match="no probe windows"):
        open_adapted(f"{tmp_path}/mine.py:load", checkpoint)


def test_a_foreign_model_has_our_interface_as_far_as_it_can():
    model = ForeignModel(Adapted(Toy(), histories()), "mine.py:load").eval()
    assert (model.title, model.name, model.config.max_len) == ("Toy", "toy", N)
    assert not hasattr(Toy(), "scores") and model.config.num_items == int(histories().max())
    with pytest.raises(ConfigError, match=r"Toy has no method scores\(windows\)"):
        model(histories())
    assert len(model.trace(histories()).hidden) == 3 and len(model.layer_functions(histories())) == 2
    with pytest.raises(ConfigError, match="cannot be asked to drop its causal mask"):
        model.trace(histories(), causal=False)
    with pytest.raises(ConfigError, match="so there are no bounds"):
        model.value_output()


def test_scores_of_a_wrong_shape_are_named():
    class Wrong(Toy):
        def scores(self, windows):
            return self(windows)[0]

    with pytest.raises(ConfigError, match=r"scores\(windows\) must be \(windows, items \+ 1\), got"):
        ForeignModel(Adapted(Wrong(), histories(), num_items=ITEMS), "mine.py:load")(histories())

    class Narrow(Toy):
        def scores(self, windows):
            return self(windows)[:, :-3]

    narrow = ForeignModel(Adapted(Narrow(), histories(), num_items=ITEMS), "mine.py:load")
    with pytest.raises(ConfigError, match="has no column for item 40"):
        narrow.scores_of(narrow.encode(histories()), slice(0, 3))


def test_windows_of_a_tokenizer_come_back_as_they_were():
    ids = torch.tensor([[5, 0, 7], [9, 8, 3]])
    batch = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]), "token_type_ids": 0 * ids}
    model = ForeignModel(Adapted(nn.Identity(), batch), "mine.py:load")
    assert model.probe.input_ids.tolist() == [[0, 6, 1], [10, 9, 4]]
    inputs = model.inputs(model.probe.input_ids)
    assert inputs["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert inputs["input_ids"][inputs["attention_mask"].bool()].tolist() == [5, 0, 9, 8, 3]


def test_a_registered_model_is_trained_resumed_and_loaded_bit_for_bit(tmp_path: Path):
    @register("halved")
    class Halved(SASRec):
        def encode(self, input_ids, users=None):
            return super().encode(input_ids, users) / 2

    assert MODELS["halved"] is Halved and Halved.title == "halved"
    assert Halved.config_type is not SASRecConfig and issubclass(Halved.config_type, SASRecConfig)
    assert type(build(configure("halved", 9))) is Halved and type(build(configure("sasrec", 9))) is SASRec
    options = {"hidden_size": 8, "max_len": 10, "epochs": 3, "show_progress": False}
    whole = train("halved", DATA, out=tmp_path / "whole.pt", **options)

    class Killed(Exception):
        pass

    run_epoch, stopped = Trainer._run_epoch, tmp_path / "stopped.pt"

    def until_second(self: Trainer, epoch: int):
        if epoch == 2:
            raise Killed
        return run_epoch(self, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_run_epoch", until_second)
        with pytest.raises(Killed):
            train("halved", DATA, out=stopped, **options)
    resumed = train("halved", DATA, out=stopped, resume=True, **options)
    assert resumed.path.read_bytes() == whole.path.read_bytes()
    loaded = models.load(whole.path)
    assert type(loaded) is Halved and read(whole.path)["model"] == "halved"
    assert train("halved", DATA, out=whole.path, resume=True, **options).metrics == whole.metrics


def test_what_cannot_be_registered():
    with pytest.raises(ConfigError, match=r"the name is that of models\.architectures\.sasrec\.SASRec"):
        register("sasrec")(type("Mine", (SASRec,), {}))
    with pytest.raises(ConfigError, match=r"takes a class of models\.recommender\.Recommender"):
        register("mine")(nn.Linear)
    with pytest.raises(ConfigError, match="has no config_type"):
        register("mine")(type("Mine", (models.recommender.Recommender,), {}))


def test_a_file_that_is_run_twice_registers_again_and_two_files_do_not_share_a_name(tmp_path: Path):
    for name in ("first.py", "second.py"):
        (tmp_path / name).write_text(REGISTERED)
    import_file(tmp_path / "first.py")
    import_file(tmp_path / "first.py")
    with pytest.raises(ConfigError, match="the name is that of adapter_first"):
        import_file(tmp_path / "second.py")


def test_the_adapter_of_a_plain_file_loads_by_name(call: Call, tmp_path: Path):
    (tmp_path / "mine.py").write_text(REGISTERED)
    options = ("--dataset", DATA, "--epochs", 1, "--hidden-size", 8, "--max-len", 10, "--out", "a.pt")
    code, _, err = call("models.train", "--model", "mine", *options, "--adapter", "mine.py")
    assert code == 0, err
    code, out, _ = call("models.evaluate", "a.pt", "--json", "--adapter", "mine.py")
    assert code == 0 and set(json.loads(out)) >= {"HR@5", "MRR"}
    code, out, err = call("spectral.filter_response", "a.pt", "--adapter", "mine.py", "--json", "--out", tmp_path)
    assert code == 0 and json.loads(out)["model"] == "mine", err
