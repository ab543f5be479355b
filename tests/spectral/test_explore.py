"""The controls of the explorer: what is drawn follows them, and is what the model's own trace says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import models
from models.recommender import Recommender
from spectral import Explorer, FrequencyResponse, capture, explore
from spectral.nulls import null_models


@pytest.fixture(scope="module")
def shared_panel(checkpoint: Path) -> Explorer:
    return explore(checkpoint)


@pytest.fixture
def panel(shared_panel: Explorer, checkpoint: Path) -> Explorer:
    """The explorer on `checkpoint`, with the controls as they are at first."""
    shared_panel.checkpoint.value = str(checkpoint)
    for control, value in {"user": 0, "layer": 1, "head": "mean", "null": "none", "c": 3}.items():
        getattr(shared_panel, control).value = value
    return shared_panel


def window_of(panel: Explorer, model: Recommender) -> Tensor:
    """The window of the chosen user, found by the id that the list of users says."""
    name = int(panel.user.label.split()[0])
    return model.probe.input_ids[model.probe.users == name]


def attention_of(model: Recommender, window: Tensor, layer: int) -> Tensor:
    """The maps of one layer on the real positions, (H, n, n)."""
    n = int((window > 0).sum())
    with torch.inference_mode():
        return model.trace(window.long()).attention[layer - 1][0, :, -n:, -n:]


def assert_follows(panel: Explorer, model: Recommender) -> None:
    """Compare both pictures with the model's trace and the library's measure."""
    window, layer, head = window_of(panel, model), panel.layer.value, panel.head.value
    n = int((window > 0).sum())
    maps = attention_of(model, window, layer)
    shown = maps.mean(0) if head == "mean" else maps[head - 1]
    axes = panel.map.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), shown, atol=1e-6)
    items, every = window[0, -n:].tolist(), 1 if n <= 25 else 2
    assert [int(label.get_text()) for label in axes.get_yticklabels()] == items[::every]
    assert [int(label.get_text()) for label in axes.get_xticklabels()] == items[::every]
    captured = capture(model, window, hidden=False, layers=[layer])
    response = FrequencyResponse.from_captures(captured, panel.c.value, length=n)
    gain = response.head_mean.gain_db[0, 0] if head == "mean" else response.gain_db[0, head - 1]
    np.testing.assert_allclose(line(panel, f"layer {layer}"), gain, atol=1e-4)
    boundary = panel.gain.axes[0].lines[-1].get_xdata()
    np.testing.assert_allclose(boundary, 2 * np.pi * panel.c.value / 2 / n)
    assert all(bytes(picture.value[:4]) == b"\x89PNG" for picture in panel.pictures)
    passed = response.head_mean.passed_ratio[0, 0] if head == "mean" else response.passed_ratio[0, head - 1]
    assert f"is {passed:.3g} times" in panel.message.value


def line(panel: Explorer, label: str) -> np.ndarray:
    [found] = [line for line in panel.gain.axes[0].lines if line.get_label() == label]
    return found.get_ydata()


def test_pictures_follow_user_layer_head_and_c(panel: Explorer, model: Recommender):
    assert_follows(panel, model)
    before = panel.pictures[0].value
    for control, value in [("layer", 2), ("head", 2), ("c", 7), ("user", 3), ("head", 1), ("layer", 1)]:
        getattr(panel, control).value = value
        assert_follows(panel, model)
    assert panel.pictures[0].value != before


def test_choices_come_from_the_model_and_full_windows_come_first(panel: Explorer, model: Recommender):
    assert tuple(panel.layer.options) == (1, 2) and tuple(panel.head.options) == ("mean", 1, 2)
    assert tuple(panel.null.options) == ("none", "uniform", "untrained", "shuffled")
    lengths = [int(label.split("(")[1].split()[0]) for label, _ in panel.user.options]
    full = lengths.count(model.config.max_len)
    assert lengths[:full] == [model.config.max_len] * full and 0 < full < len(lengths)
    assert len(lengths) == int(((model.probe.input_ids > 0).sum(1) > 1).sum())


def test_a_short_history_is_shown_without_padding_and_limits_c(panel: Explorer, model: Recommender):
    lengths = (model.probe.input_ids > 0).sum(1)
    shortest = min(lengths[lengths > 1].tolist())
    panel.c.value = panel.c.options[-1]
    panel.user.value = next(row for label, row in panel.user.options if f"({shortest} items)" in label)
    assert_follows(panel, model)
    assert panel.c.value == panel.c.options[-1] == (shortest - 1) // 2 * 2 + 1


@pytest.mark.parametrize(("null", "draws"), [("uniform", 1), ("untrained", 5), ("shuffled", 5)])
def test_the_null_model_of_the_chosen_head_is_drawn(panel: Explorer, model: Recommender, null: str, draws: int):
    panel.user.value, panel.layer.value, panel.head.value = 2, 2, 2
    panel.null.value = null
    assert_follows(panel, model)
    drawn = [line.get_ydata() for line in panel.gain.axes[0].lines if line.get_label().strip("_") == null]
    assert len(drawn) == draws
    names = [int(label.split()[0]) for label, _ in panel.user.options]
    windows = torch.cat([model.probe.input_ids[model.probe.users == name] for name in names])
    for (other, inputs), curve in zip(null_models(null, model, windows), drawn, strict=True):
        maps = attention_of(other, inputs[2:3], 2)[1]
        power = np.abs(np.fft.rfft(maps.double().numpy(), axis=1)) ** 2
        np.testing.assert_allclose(curve, 10 * np.log10(power.sum(0) / len(maps)), atol=1e-3)
    panel.null.value = "none"
    assert not any(line.get_label().strip("_") == null for line in panel.gain.axes[0].lines)


def test_another_checkpoint_is_opened_and_a_wrong_one_is_a_sentence(panel: Explorer, sasrec_checkpoint: Path):
    panel.checkpoint.value = "runs/<nothing>.pt"
    assert panel.message.value == "<b>error:</b> runs/&lt;nothing&gt;.pt: No such file or directory"
    assert panel.map is None and panel.gain is None and not any(picture.value for picture in panel.pictures)
    assert panel.layer.disabled and panel.user.disabled and not panel.checkpoint.disabled
    panel.checkpoint.value = "example:bserec"
    assert "which are example:bsarec" in panel.message.value
    panel.checkpoint.value = str(sasrec_checkpoint)
    assert not panel.layer.disabled
    assert_follows(panel, models.load(sasrec_checkpoint))


def test_a_model_without_attention_and_an_even_c_are_sentences(checkpoint: Path, tmp_path: Path):
    from models.train import train

    path = train("gru4rec", "synthetic:users=30,items=20", out=tmp_path / "m.pt", epochs=1, max_len=8).path
    assert "has no attention to measure" in explore(path).message.value
    assert explore(checkpoint, c=4).message.value.startswith("<b>error:</b>")


def test_where_widgets_cannot_be_shown_a_sentence_says_what_is_missing(panel: Explorer):
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and "JupyterLab" in bundle["text/plain"]
