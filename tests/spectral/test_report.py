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
from browser import SCHEMES, WIDTHS, accessibility_faults, browser, opened, overflow
from repository import ROOT

import models
from models.train import train
from spectral import LayerSpectra, capture, full_windows, layer_bounds
from spectral.report import names_of
from spectral.signals import extreme_signals

SECTIONS = 19
PICTURES = (
    27  # two of architectures, of attention maps and of rank one, three of histories, six of strata, none of bounds
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
        assert image["alt"].startswith(("Panels: ", "Axes: ", "Text: ", "Legend: "))
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert not re.search(r"https?://|@import|url\(", report.read_text())


def test_what_a_model_does_not_have_is_named_with_the_reason(report):
    text = report.read_text()
    assert text.count("gru4rec: GRU4Rec has no attention to measure") == 4
    assert "sasrec: SASRec has no learned filters" in text
    assert "gru4rec: GRU4Rec is not made of blocks" in text


def test_the_numbers_are_those_of_the_measures(report, checkpoint):
    tables = [pd.DataFrame(rows, columns=head) for head, *rows in Page(report.read_text()).tables]
    assert len(tables) == SECTIONS + 1
    overview = tables[0].set_index("quantity")
    assert list(overview.loc["model"]) == ["BSARec", "SASRec", "GRU4Rec"]
    assert list(overview) == ["bsarec", "sasrec", "gru4rec"]
    assert overview.loc["attention's gain of the fastest wave [dB]", "gru4rec"] == "-"
    model = models.load(checkpoint)
    windows = model.probe.input_ids[model.probe.uniform]
    counted = tables[1].query("model == 'bsarec'")["parameters"].astype(int).sum()
    assert counted == sum(parameter.numel() for parameter in model.parameters())
    users = [signal.user for signal in extreme_signals(model, model.probe.input_ids, model.probe.users, 3)]
    assert list(tables[2].query("model == 'bsarec'")["user"].astype(int)) == users
    spectra = LayerSpectra.from_captures(capture(model, windows, attention=False))
    shown = tables[11].query("model == 'bsarec'")
    expected = [spectrum.effective_rank for spectrum in spectra.layers.values()]
    assert list(shown["effective_rank"].astype(float)) == pytest.approx(expected, rel=1e-3)
    assert float(overview.loc["effective rank of users", "bsarec"]) == pytest.approx(expected[-1], rel=1e-3)
    full = list(capture(model, full_windows(model.probe.input_ids)))
    attention, hidden = (torch.cat([getattr(c, kind)[0] for c in full]) for kind in ("attention", "hidden"))
    bounds = layer_bounds(attention, model.value_output()[0], hidden).summary()[0]
    first = tables[9].query("model == 'bsarec'").iloc[0]
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


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_browser_shows_everything_in_light_and_dark_on_wide_and_narrow_screens(chromium, report, width, scheme):
    with opened(chromium, report, width, scheme) as page:
        assert overflow(page) <= 0
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert overflow(page) <= 0 and accessibility_faults(page) == []
        sizes = page.evaluate("[...document.images].map((i) => [i.naturalWidth, i.getBoundingClientRect().height])")
        assert len(sizes) == PICTURES and all(width > 100 and height > 50 for width, height in sizes)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        cards = page.evaluate("[...document.images].map((i) => getComputedStyle(i).backgroundColor)")
        assert set(cards) == {"rgb(255, 255, 255)"}


def test_a_table_is_sorted_with_the_keyboard(chromium, report):
    with opened(chromium, report) as page:
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        table = page.locator("table").nth(11)
        head = table.locator("thead th").nth(2)
        for order in ("ascending", "descending"):
            head.locator("button").press("Enter")
            values = [float(text) for text in table.locator("tbody td:nth-child(3)").all_inner_texts()]
            assert values == sorted(values, reverse=order == "descending") and len(set(values)) > 1
            assert head.get_attribute("aria-sort") == order
        assert page.locator("th button").count() == page.locator("thead th").count()


def test_tables_are_downloaded_with_all_digits_without_javascript(chromium, report, tmp_path):
    with opened(chromium, report, java_script_enabled=False) as page:
        assert page.locator(".download").count() == page.locator("table").count() == SECTIONS + 1
        with page.expect_download() as started:
            page.locator(".download a").first.click()
        started.value.save_as(tmp_path / "overview.csv")
    table = pd.read_csv(tmp_path / "overview.csv", index_col="quantity")
    assert started.value.suggested_filename == "overview.csv" and table.loc["model", "bsarec"] == "BSARec"


@pytest.fixture(scope="module")
def explored(chromium, report):
    """The page, for tests that choose all that they read, whatever was chosen before."""
    with opened(chromium, report) as page:
        yield page


def choose(page, **choices: str) -> None:
    for name, value in choices.items():
        page.locator(f".explorer select[name={name}]").select_option(label=value)


def cell_of(page, query: int, key: int, n: int) -> dict[str, float]:
    """Return where a cell is on the map, in pixels."""
    box = page.locator(".explorer canvas").bounding_box()
    return {"x": (key + 0.5) / n * box["width"], "y": (query + 0.5) / n * box["height"]}


def said(page) -> str:
    return page.locator(".explorer [role=status]").inner_text()


@pytest.mark.parametrize("number, layer, head", [(0, 2, 1), (3, 1, 2), (7, 2, "mean over heads")])
def test_a_cell_of_a_single_users_attention_says_its_items_and_its_weight(
    explored, sasrec_checkpoint, number, layer, head
):
    model = models.load(sasrec_checkpoint)
    windows = full_windows(model.probe.input_ids)
    users = model.probe.users[(model.probe.input_ids > 0).all(1)].tolist()
    items, user, n = windows[number].tolist(), users[number], windows.shape[1]
    with torch.inference_mode():
        maps = model.trace(windows[number : number + 1]).attention[layer - 1][0]
    exact = maps.mean(0) if head == "mean over heads" else maps[head - 1]
    choose(explored, model="sasrec", user=f"{user} ({n} positions)", layer=str(layer), head=str(head))
    for query, key in ((n - 1, 0), (12, 5), (9, 9), (4, 11)):
        explored.locator(".explorer canvas").hover(position=cell_of(explored, query, key, n))
        masked = " (masked, because it is later)" if key > query else ""
        places = f"item {items[query]} at position {query} → key: item {items[key]} at position {key}{masked}"
        start, weight = said(explored).rstrip(".").split(". Weight ")
        assert start == f"Query: {places}"
        assert float(weight) == pytest.approx(exact[query, key].item(), abs=0.5e-5 + 0.8e-5)


def test_choosing_model_user_layer_and_head_changes_what_is_said_of_a_cell(explored):
    options = explored.locator(".explorer select[name=user] option").all_inner_texts()
    assert len(options) == 8
    assert explored.locator(".explorer select[name=model] option").all_inner_texts() == ["bsarec", "sasrec"]
    first = {"model": "bsarec", "user": options[0], "layer": "1", "head": "1"}
    others = {"model": "sasrec", "user": options[1], "layer": "2", "head": "2"}
    choose(explored, **first)
    explored.locator(".explorer canvas").hover(position=cell_of(explored, 9, 3, 20))
    texts = [said(explored)]
    for name, value in others.items():
        choose(explored, **{name: value})
        texts.append(said(explored))
    assert len(set(texts)) == 5 and all("at position 9 →" in text and "at position 3." in text for text in texts)


def test_arrow_keys_move_the_cell_and_stop_at_the_edges(explored):
    explored.locator(".explorer canvas").hover(position=cell_of(explored, 9, 3, 20))
    explored.locator(".explorer select[name=head]").focus()
    explored.keyboard.press("Tab")
    assert explored.evaluate("document.activeElement.tagName") == "CANVAS"
    for pressed, (query, key) in {
        "ArrowUp": (8, 3),
        "ArrowRight": (8, 4),
        "ArrowDown": (9, 4),
        "ArrowLeft": (9, 3),
        "Home": (9, 0),
        "ArrowLeft+": (9, 0),
        "End": (9, 19),
    }.items():
        explored.keyboard.press(pressed.rstrip("+"))
        positions = [int(number) for number in re.findall(r"at position (\d+)", said(explored))]
        assert positions == [query, key], pressed


def test_a_tap_chooses_a_cell_on_a_narrow_dark_screen(chromium, report):
    with opened(chromium, report, 390, "dark", has_touch=True) as page:
        page.locator(".explorer canvas").tap(position=cell_of(page, 15, 2, 20))
        assert "at position 15 →" in said(page) and "at position 2." in said(page)
        assert overflow(page) <= 0
        shown = "[...document.querySelector('.explorer canvas').getContext('2d').getImageData(2, 2, 1, 1).data]"
        assert not page.get_by_text("with JavaScript only").is_visible()
        assert page.evaluate(shown)[:3] == [0x56, 0xB4, 0xE9]  # the weight of the first cell is 1, in the dark's colour


def test_without_javascript_a_sentence_leads_to_the_pictures(chromium, report):
    with opened(chromium, report, java_script_enabled=False) as page:
        assert page.get_by_text("with JavaScript only").is_visible()
        assert not page.locator(".explorer").is_visible()


def test_the_contents_lead_to_every_part_and_the_first_link_skips_them(chromium, report):
    with opened(chromium, report) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        links = page.eval_on_selector_all("nav a", "links => links.map((a) => [a.hash.slice(1), a.textContent])")
        heads = page.eval_on_selector_all("section", "all => all.map((s) => [s.id, s.querySelector('h2').textContent])")
        assert links == heads and len(heads) == SECTIONS + 1


def test_axe_finds_what_is_wrong(chromium, tmp_path):
    wrong = tmp_path / "wrong.html"
    wrong.write_text('<html lang="en"><title>x</title><p style="color:#ccc;background:#fff">pale</p><img src="data:,">')
    with pytest.raises(AssertionError, match="failed"), opened(chromium, wrong) as page:
        faults = accessibility_faults(page)
        assert {fault.split(":")[0] for fault in faults} == {"color-contrast", "image-alt"}
        page.evaluate("fetch('http://127.0.0.1:9/').catch(() => null)")
