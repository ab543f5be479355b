"""The gallery's notes and pages: what they say is what the runs were, and every link leads somewhere."""

import hashlib
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import drawn
import pandas as pd
import pytest
import torch
from browser import SCHEMES, WIDTHS, accessibility_faults, browser, opened, overflow
from repository import ROOT
from third_party_states.small import GIVEN, bsarec_state

import models
from models.errors import DataError
from spectral import plot
from spectral.gallery import Gallery, collect, configuration_of, write_pages
from spectral.tables import stacked


@pytest.fixture(scope="module")
def run(checkpoint):
    return models.load(checkpoint)


@pytest.fixture
def folder(tmp_path, run) -> Path:
    gallery = Gallery(tmp_path, "ml-100k", {"bsarec": run})
    figure = plot.ring_graph(8, (0, 1)).figure
    gallery.save(figure, "fig2a", pd.DataFrame({"k": [1]}), caption="A ring\n   of <8> nodes.", see="Waves & dots.")
    (tmp_path / "ml-100k" / "table_main.md").write_text("| a |\n")
    gallery.note("table_main", caption="Means.", see="Which is best.")
    Gallery(tmp_path, "lastfm").save(figure, "fig4", pd.DataFrame({"k": [1]}), caption="Parts.", see="Two branches.")
    return tmp_path


def test_a_note_says_what_its_runs_were(folder, run):
    note = collect(folder)[1]
    settings = {"model": "bsarec", "config": run.checkpoint["config"], "training": run.checkpoint["training"]}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    assert (note.name, note.runs) == ("fig2a", {"bsarec": [run.checkpoint["training"]["seed"]]})
    assert note.configuration == digest[:12]
    assert note.caption == "A ring of <8> nodes."
    assert note.seconds >= 0 and re.fullmatch(r"\d{4}-\d\d-\d\d", note.date)


def test_a_note_of_a_third_party_model_has_no_seed_and_its_settings(tmp_path):
    torch.save(bsarec_state(), tmp_path / "theirs.pt")
    network = models.load(tmp_path / "theirs.pt", **GIVEN)
    Gallery(tmp_path, "mine", {"bsarec": network}).note("successors", caption="All.", see="Much.")
    settings = {"model": "bsarec", "config": asdict(network.config), "training": network.checkpoint["training"]}
    (tmp_path / "mine/successors.csv").touch()
    (note,) = collect(tmp_path)
    assert note.runs == {"bsarec": []}
    assert note.configuration == hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def test_results_by_model_are_one_table_and_more_tables_lie_beside_the_figure(folder):
    gallery = Gallery(folder, "lastfm")
    spectra = {"sasrec": drawn.singular_values(0), "bsarec": drawn.singular_values(1)}
    gallery.save(plot.singular_values(spectra).figure, "fig3a", spectra, caption="Spectra.", see="Which falls.")
    table = pd.read_csv(folder / "lastfm/fig3a.csv")
    assert table.columns[0] == "model" and table.model.drop_duplicates().tolist() == list(spectra)
    for model, rows in table.groupby("model"):
        expected = spectra[model].table()
        pd.testing.assert_frame_equal(rows.drop(columns="model").reset_index(drop=True), expected)
    gallery.add_table("fig3a_more", table.head(2))
    pd.testing.assert_frame_equal(pd.read_csv(folder / "lastfm/fig3a_more.csv"), table.head(2))
    with pytest.raises(ValueError):
        stacked({})


def test_the_configuration_changes_with_any_setting_and_not_with_the_order(run, tmp_path):
    from models.results.runs import Result

    def result(**changes):
        training = {"seed": 1} | changes
        return Result("sasrec", {"max_len": 5}, training, {}, {}, 1, 0, 1, None, {}, {}, None, None, [1])

    assert configuration_of([result(), run]) == configuration_of([run, result()])
    assert configuration_of([result()]) != configuration_of([result(learning_rate=0.1)])
    assert configuration_of([replace(result(), test_ranks=[2])]) == configuration_of([result()])
    assert configuration_of([]) == ""


def test_a_model_without_a_checkpoint_has_no_settings():
    from models.registry import build, configure

    with pytest.raises(ValueError, match="does not come from a checkpoint"):
        configuration_of([build(configure("sasrec", 5))])


def test_pages_show_every_figure_and_table_and_all_links_lead_somewhere(folder):
    readme, page = (path.read_text() for path in write_pages(folder))
    links = re.findall(r"\]\(([^)]+)\)", readme)
    assert {"ml-100k/fig2a.png", "ml-100k/fig2a.csv", "ml-100k/table_main.md", "lastfm/fig4.pdf"} <= set(links)
    parser = Links()
    parser.feed(page)
    assert set(links) <= set(parser.links)
    for link in [*links, *parser.links]:
        assert link.startswith("#") or (folder / link).is_file()
    assert "bsarec · seed 1 · configuration `" in readme and "bsarec · seed 1 · configuration <code>" in page
    assert "Waves & dots." in readme and "Waves &amp; dots." in page and "of &lt;8&gt; nodes" in page
    assert readme.index("## lastfm") < readme.index("### fig4") < readme.index("## ml-100k") < readme.index("### fig2a")


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("href", "src")]


def test_other_json_in_the_folders_is_left_alone(folder):
    (folder / "ml-100k" / "other.json").write_text('{"format": "something else"}')
    assert len(collect(folder)) == 3


@pytest.mark.parametrize(
    "content, message",
    [("{", "is not JSON"), ('{"format": "spectral-gallery-note", "name": "x"}', "lacks fields of a note")],
)
def test_a_broken_note_is_named(folder, content, message):
    (folder / "ml-100k" / "fig9.json").write_text(content)
    with pytest.raises(DataError, match=rf"fig9\.json: {message}"):
        write_pages(folder)


def test_a_note_without_its_figure_and_an_empty_gallery_are_refused(folder, tmp_path):
    (folder / "lastfm" / "fig4.png").unlink()
    write_pages(folder)  # the rest of its files is shown
    for kind in ("pdf", "csv"):
        (folder / "lastfm" / f"fig4.{kind}").unlink()
    with pytest.raises(DataError, match=r"fig4\.json: is the note of a figure that is missing"):
        write_pages(folder)
    with pytest.raises(DataError, match="make figures"):
        write_pages(tmp_path / "none")


def test_the_command_writes_both_pages(folder, command):
    result = command("spectral.gallery", folder)
    assert result.returncode == 0 and "index.html" in result.stderr
    assert (folder / "README.md").is_file()
    result = command("spectral.gallery", folder / "none")
    assert result.returncode == 2 and "error:" in result.stderr


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_browser_shows_the_committed_gallery_on_wide_and_narrow_screens(scheme):
    with browser() as chromium:
        for width in WIDTHS:
            with opened(chromium, ROOT / "figures" / "index.html", width, scheme) as page:
                assert overflow(page) <= 0 and accessibility_faults(page) == []
                links = page.eval_on_selector_all("nav a", "all => all.map((a) => a.hash)")
                assert links and all(page.locator(link).count() == 1 for link in links)
