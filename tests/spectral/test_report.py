"""The report: everything is on one page, the numbers are those of the measures, and a real browser shows it."""

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import torch
from repository import ROOT

import models
from models.train import train
from spectral import LayerSpectra, capture, full_windows, layer_bounds
from spectral.report import names_of
from spectral.signals import extreme_signals

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECTIONS = 18
PICTURES = (
    26  # two of architectures, of attention maps and of rank one, three of histories, six of strata, none of bounds
)


class Page(HTMLParser):
    """The pictures, references and tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str]] = []
        self.references: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            self.images.append(values)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        self.in_cell = tag in ("td", "th")
        self.references += [values[key] for key in ("href", "src") if key in values]

    def handle_data(self, data):
        if self.in_cell:
            self.tables[-1][-1].append(data)
            self.in_cell = False


@pytest.fixture(scope="module")
def gru4rec(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("gru4rec") / "gru4rec.pt"
    options = {"epochs": 1, "hidden_size": 16, "max_len": 20, "show_progress": False}
    return train("gru4rec", "synthetic:users=120,items=60", out=out, **options).path


@pytest.fixture(scope="module")
def report(checkpoint, sasrec_checkpoint, gru4rec, tmp_path_factory) -> Path:
    import sys

    out = tmp_path_factory.mktemp("report") / "all of it" / "report.html"
    command = [sys.executable, "-m", "spectral.report", checkpoint, sasrec_checkpoint, gru4rec, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert f"wrote {out}" in done.stderr and done.stdout == "" and "Warning" not in done.stderr
    return out


def test_the_page_holds_all_its_pictures_and_asks_nothing_of_a_network(report):
    page = Page(report.read_text())
    assert len(page.images) == PICTURES
    for image in page.images:
        kind, content = image["src"].split(",", 1)
        assert kind == "data:image/png;base64" and base64.b64decode(content)[:4] == b"\x89PNG"
        assert image["alt"]
    assert all(reference.startswith(("data:", "#section-")) for reference in page.references)
    assert not re.search(r"https?://|@import|url\(", report.read_text())


def test_what_a_model_does_not_have_is_named_with_the_reason(report):
    text = report.read_text()
    assert text.count("gru4rec: GRU4Rec has no attention to measure") == 4
    assert "sasrec: SASRec has no learned filters" in text
    assert "gru4rec: GRU4Rec is not made of blocks" in text


def test_the_numbers_are_those_of_the_measures(report, checkpoint):
    tables = [pd.DataFrame(rows, columns=head) for head, *rows in Page(report.read_text()).tables]
    assert len(tables) == SECTIONS + 1
    assert list(tables[0]["model"]) == ["BSARec", "SASRec", "GRU4Rec"]
    model = models.load(checkpoint)
    windows = model.probe.input_ids[model.probe.uniform]
    counted = tables[1].query("model == 'bsarec'")["parameters"].astype(int).sum()
    assert counted == sum(parameter.numel() for parameter in model.parameters())
    users = [signal.user for signal in extreme_signals(model, model.probe.input_ids, model.probe.users, 3)]
    assert list(tables[2].query("model == 'bsarec'")["user"].astype(int)) == users
    spectra = LayerSpectra.from_captures(capture(model, windows, attention=False))
    shown = tables[10].query("model == 'bsarec'")
    expected = [spectrum.effective_rank for spectrum in spectra.layers.values()]
    assert list(shown["effective_rank"].astype(float)) == pytest.approx(expected, rel=1e-3)
    full = list(capture(model, full_windows(model.probe.input_ids)))
    attention, hidden = (torch.cat([getattr(c, kind)[0] for c in full]) for kind in ("attention", "hidden"))
    bounds = layer_bounds(attention, model.value_output()[0], hidden).summary()[0]
    first = tables[8].query("model == 'bsarec'").iloc[0]
    assert first[list(bounds)].astype(float).to_dict() == pytest.approx(bounds, rel=1e-3)


def test_two_checkpoints_of_one_model_are_told_apart(checkpoint, tmp_path):
    other = shutil.copy(checkpoint, tmp_path / "other.pt")
    again = shutil.copy(checkpoint, tmp_path / checkpoint.name)
    loaded = {path: models.load(path) for path in (checkpoint, Path(other), Path(again))}
    assert names_of(loaded) == [f"BSARec, {checkpoint}", "BSARec, other", f"BSARec, {again}"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nothing.pt"], "nothing.pt"),
        (["ckpt.pt", "--out", "."], "is a folder; name the file to write"),
        (["ckpt.pt", "--c", "4"], "odd"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_end_with_a_sentence(arguments, message, checkpoint, command, tmp_path):
    shutil.copy(checkpoint, tmp_path / "ckpt.pt")
    done = command("spectral.report", *arguments)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "report.html").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
def test_a_browser_shows_every_picture_without_an_error(report, tmp_path):
    """A script added to the page says in its title what the browser saw, once everything is loaded."""
    watch = "<script>window.faults = []; addEventListener('error', (e) => faults.push(e.message), true);</script>"
    tell = """<script>addEventListener("load", () => {
      document.querySelectorAll("details").forEach((part) => { part.open = true; });
      const images = [...document.images];
      const seen = images.filter((i) => i.naturalWidth > 100 && i.getBoundingClientRect().height > 50).length;
      const table = document.querySelectorAll("table")[10];
      table.querySelectorAll("th button")[2].click();
      const column = [...table.tBodies[0].rows].map((row) => Number(row.cells[2].textContent));
      const sorted = column.every((value, i) => i === 0 || column[i - 1] <= value);
      document.title = `faults ${faults.length} images ${seen}/${images.length} sorted ${sorted} ${faults.join()}`;
    });</script>"""
    text = report.read_text()
    page = tmp_path / "page.html"
    page.write_text(text.replace("<head>", f"<head>{watch}").replace("</body>", f"{tell}</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search("<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stderr[-2000:]
    assert title[1].strip() == f"faults 0 images {PICTURES}/{PICTURES} sorted true"
