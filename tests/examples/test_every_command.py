"""Every command that reads a checkpoint takes the models of the examples: it measures them, or says what they lack."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from json_output import json_of
from repository import ROOT

import spectral
from models import console, registry
from models.adapter import import_file
from models.datasets import load
from models.train import train

# To ask commands for their options, this file imports them before a test runs them.
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules after import:RuntimeWarning")
EXAMPLES = ROOT / "examples"
DATA = "synthetic:users=24,items=30"
LENGTH, SIZE = 8, 8
PARAMETERS = {name: {one.name for one in console.load(name).params} for name in console.COMMANDS}
READING = [name for name, known in PARAMETERS.items() if known & {"checkpoint", "checkpoints"}]
FOREIGN = {
    "block-response": "does not offer its layers one by one",
    "learned-filters": "has no learned filters",
    "mixing-ratio": "is not made of blocks with residual connections",
    "theorem1": "cannot be asked to drop its causal mask",
}
WITHOUT_ATTENTION = dict.fromkeys(
    ("filter-response", "transfer-map", "attention-statistics", "theorem1"), "has no attention to measure"
)
LACKS = {  # commands that end in a sentence, by the title of the model; all others succeed
    "TransformerRecommender": FOREIGN,
    "ItemGPT": FOREIGN,
    "MeanRec": FOREIGN | WITHOUT_ATTENTION,
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Forget the architecture that an example registers."""
    yield
    for names in (registry.MODELS, registry.KNOWN):
        names.pop("mean-rec", None)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """A small checkpoint of each example and its adapter, by the title of its model."""
    folder, sequences = tmp_path_factory.mktemp("examples"), load(DATA)
    windows = torch.from_numpy(sequences.windows("test", LENGTH).inputs)
    torch.manual_seed(0)
    plain = import_file(EXAMPLES / "transformer_encoder.py")
    plain.save(plain.TransformerRecommender(sequences.num_items, LENGTH, SIZE), windows, folder / "plain.pt")
    face = import_file(EXAMPLES / "hugging_face.py")
    sizes = {"n_positions": LENGTH, "n_embd": SIZE, "n_layer": 2, "n_head": 2}
    face.save(face.GPT2Model(face.GPT2Config(vocab_size=sequences.num_items + 1, **sizes)), windows, folder / "face")
    import_file(EXAMPLES / "own_architecture.py")
    train("mean-rec", DATA, out=folder / "own.pt", epochs=1, hidden_size=SIZE, max_len=LENGTH, show_progress=False)
    return {
        "TransformerRecommender": (folder / "plain.pt", f"{EXAMPLES}/transformer_encoder.py:load"),
        "ItemGPT": (folder / "face", f"{EXAMPLES}/hugging_face.py:load"),
        "MeanRec": (folder / "own.pt", f"{EXAMPLES}/own_architecture.py"),
    }


def test_every_command_that_reads_a_checkpoint_takes_an_adapter():
    assert len(READING) > 18 and {"report", "integrity", "summary", "evaluate"} <= {*READING}
    assert [name for name in READING if "adapter" not in PARAMETERS[name]] == []


@pytest.mark.parametrize("title", LACKS)
@pytest.mark.parametrize("name", READING)
def test_it_measures_the_model_or_says_what_the_model_lacks(call, examples, name: str, title: str, tmp_path: Path):
    checkpoint, adapter = examples[title]
    module, known = console.COMMANDS[name].removesuffix(".__main__"), PARAMETERS[name]
    wanted = {
        "out": tmp_path / "out" / ("out.html" if name == "report" else ""),
        "file": tmp_path / "out" / "out.npz",  # of spectral.summary
        "format": "png,csv",
        "null": "all",
        "draws": 1,
    }
    options = [word for option, value in wanted.items() if option in known for word in (_flag(option), value)]
    options += ["--json"] if "json" in known else []
    code, out, err = call(module, checkpoint, "--adapter", adapter, *options)
    if code == 2 and "give --data" in err and title != "MeanRec":  # a checkpoint of ours says which data it needs
        assert "data" in known and out == ""
        code, out, err = call(module, checkpoint, "--adapter", adapter, *options, "--data", DATA)
    if name in LACKS[title]:
        *_, last = err.splitlines()
        assert code == 2 and out == "" and last.startswith(f"error: {title} ") and LACKS[title][name] in last
        return
    assert code == 0, err
    assert ("json" not in known) or json_of(out)
    written = [path for path in (tmp_path / "out").glob("*") if path.stat().st_size > 100]
    assert written or not known & {"out", "file"}


def _flag(option: str) -> str:
    return "--out" if option == "file" else f"--{option}"


@pytest.mark.parametrize("title", ["TransformerRecommender", "ItemGPT"])
def test_the_numbers_are_those_of_the_captured_model(call, examples, title: str, tmp_path: Path):
    checkpoint, adapter = examples[title]
    file, _, function = adapter.rpartition(":")
    loaded = getattr(import_file(file), function)(checkpoint)
    model, windows = loaded if isinstance(loaded, tuple) else (loaded.model, loaded.windows)
    names = {} if isinstance(loaded, tuple) else {"hidden": loaded.hidden, "attention": loaded.attention}
    captures = list(spectral.capture(model.eval(), windows, mask=lambda batch: batch > 0, **names))
    full = windows[(windows > 0).all(1)]
    of_full = spectral.capture(model, full, mask=lambda batch: batch > 0, **names)
    expected = {
        "filter_response": ("responses", spectral.FrequencyResponse.from_captures(of_full).summary()),
        "cosine_similarity": ("layers", spectral.CosineSimilarity.from_captures(captures).table().to_dict("records")),
        "smoothing": ("layers", spectral.Smoothing.from_captures(captures).summary()),
    }
    for measure, (key, records) in expected.items():
        given = ("--adapter", adapter, "--json", "--format", "csv", "--out", tmp_path)
        found = json_of(call(f"spectral.{measure}", checkpoint, *given)[1])[key]
        assert len(found) == len(records)
        for record, by_hand in zip(found, records, strict=True):
            numbers = {name: value for name, value in record.items() if isinstance(value, float)}
            assert numbers == pytest.approx({name: by_hand[name] for name in numbers}, rel=1e-4, abs=1e-5)


ABILITIES = """
import torch
from torch import nn
from models.adapter import Adapted

class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(31, 8), nn.Identity()
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)

    def layer(self, x):
        causal = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        return x + self.mix(x, x, x, attn_mask=causal)[0]

    def forward(self, windows):
        return self.last(self.layer(self.table(windows)))

class WithItems(Bare):
    items = property(lambda self: self.table)

class WithScores(WithItems):
    def scores(self, windows):
        return self(windows)[:, -1] @ self.table.weight.T

class WithLayers(WithScores):
    def layer_functions(self, windows):
        return [self.layer]

def adapted(model, attention=("mix",)):
    return lambda path: Adapted(model(), torch.load(path), hidden=["table", "last"], attention=attention, name="Mine")

loaders = adapted(Bare, ()), adapted(Bare), adapted(WithItems), adapted(WithScores), adapted(WithLayers)
load_0, load_1, load_2, load_3, load_4 = loaders
"""
TABLE = (ROOT / "docs/adapters.md").read_text().split("| the model has |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
NEEDING = [(row, name) for row, line in enumerate(TABLE) for name in re.findall(r"`([\w.]+)`", line.split("|")[2])]


@pytest.mark.parametrize(("row", "name"), [each for each in NEEDING if each[1] not in ("integrity", "user_frequency")])
def test_a_model_needs_for_a_measure_what_the_documentation_says(call, row: int, name: str, tmp_path: Path):
    """With the abilities of its row and those above a command succeeds; without that of its row it says so."""
    (tmp_path / "mine.py").write_text(ABILITIES)
    torch.save(torch.from_numpy(load(DATA).windows("test", LENGTH).inputs), tmp_path / "mine.pt")
    module = name if name.startswith("models.") else f"spectral.{name}"
    options = ("--data", DATA) if name == "models.evaluate" else ("--format", "csv")
    code, _, err = call(module, "mine.pt", "--adapter", f"mine.py:load_{row}", *options)
    assert code == 0, err
    if row:
        code, out, err = call(module, "mine.pt", "--adapter", f"mine.py:load_{row - 1}", *options)
        assert code == 2 and out == "" and re.match(r"error: (.*: )?Mine ", err.splitlines()[-1]), err


def test_the_explorer_takes_an_adapter(examples):
    for title, (checkpoint, adapter) in examples.items():
        panel = spectral.explore(checkpoint, adapter=adapter)
        if title == "MeanRec":
            assert "error:</b> MeanRec has no attention to measure" in panel.message.value
        else:
            assert panel.message.value.startswith("User ") and panel.null.options == ("none", "shuffled")
