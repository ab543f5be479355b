"""Every command that writes files replaces its own, and leaves a file alone that it did not write."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import simulated_summaries
from repository import ROOT

from models.files import RECORD
from spectral import plot
from spectral.gallery import Gallery

Call = Callable[..., tuple[int, str, str]]

# Module and arguments; the files that it writes. "ckpt" is a checkpoint. Measures have the same code for their files.
PICTURES = ("png", "pdf", "csv")
MEASURES = [
    "attention_statistics",
    "block_response",
    "cka",
    "cosine_similarity",
    "filter_response",
    "last_item",
    "learned_filters",
    "mixing_ratio",
    "rank_one",
    "signals",
    "singular_values",
    "strata",
    "theorem1",
    "transfer_map",
]
TRAIN = "models.train --model sasrec --dataset synthetic:users=20,items=30 --epochs 1 --watch --out m.pt"
WATCHED = "epoch,layer,measure,value\n0,,NDCG@20,0.1\n0,1,between_users,0.5\n"
COMMANDS = {
    **{f"spectral.{name} ckpt --out here --format csv": [f"here/{name}.csv"] for name in MEASURES},
    "spectral.smoothing ckpt --out here": [f"here/smoothing.{kind}" for kind in PICTURES],
    "spectral.user_frequency ckpt --out here --format csv": [
        "here/user_frequency.csv",
        "here/user_frequency_users.csv",
    ],
    "spectral.summary ckpt --out s.npz": ["s.npz"],
    "spectral.compare sasrec-seed1.spectral.npz bsarec-seed1.spectral.npz --out table": ["table"],
    "spectral.claims figures --dataset lastfm --out figures/judged": ["figures/judged.csv", "figures/judged.md"],
    "spectral.gallery figures": ["figures/README.md", "figures/index.html"],
    "models.compare ckpt --out of.runs": ["of.runs.csv", "of.runs.md", "of.runs.tex"],
    "models.evaluate ckpt --per-user users.parquet --result result.json": ["users.parquet", "result.json"],
    "models.convert ckpt new.pt": ["new.pt"],
    "models.datasets describe ml-100k --out sizes.csv": ["sizes.csv"],
    "models.datasets import shop.csv --user who --item what --time when --core 1": [
        f"shop.{ending}" for ending in ("sequences", "times.txt", "users.csv", "items.csv")
    ],
    "spectral.dynamics sasrec-seed1.watch.csv --out here --format csv": [
        "here/dynamics.csv",
        "here/dynamics_paths.csv",
    ],
    TRAIN: ["m.pt", "m.log.csv", "m.json", "m.watch.csv"],
}
REPORT = "spectral.report ckpt --max-users 4 --out page.html"


@pytest.fixture
def run(call: Call, checkpoint: Path, tmp_path: Path) -> Callable[[str], tuple[int, str, str]]:
    """Run a command line in a folder with what the commands need."""
    for model in ("sasrec", "bsarec"):
        simulated_summaries.summary(model, 1).write(tmp_path / f"{model}-seed1.spectral.npz")
    gallery = Gallery(tmp_path / "figures", "")
    gallery.add_table("rings", pd.DataFrame({"k": [1]}))
    gallery.note("rings", caption="Rings.", see="One.")
    (tmp_path / "sasrec-seed1.watch.csv").write_text(WATCHED)
    rows = [f"{who},{what},{when}" for who in "ab" for when, what in enumerate("xyz")]
    (tmp_path / "shop.csv").write_text("\n".join(["who,what,when", *rows]))

    def run(line: str) -> tuple[int, str, str]:
        return call(*(str(checkpoint) if word == "ckpt" else word for word in line.split()))

    return run


@pytest.mark.parametrize("line", COMMANDS)
def test_own_files_are_replaced_and_no_other(run, tmp_path: Path, line: str):
    files = [tmp_path / name for name in COMMANDS[line]]
    for _ in range(2):  # the second time over its own files
        code, _, err = run(line)
        assert code == 0, err
        assert all(file.stat().st_size for file in files)
    for file in files:
        before = {path: path.read_bytes() for path in files}
        file.write_text("my notes")
        code, _, err = run(line)
        assert code == 2 and f"{file.relative_to(tmp_path)}: exists and is not" in err and "Traceback" not in err
        assert {path: path.read_bytes() for path in files} == before | {file: b"my notes"}
        file.write_bytes(before[file])


def test_a_report_is_refused_before_anything_is_measured(run, tmp_path: Path):
    (tmp_path / "page.html").write_text("my notes")
    code, _, err = run(REPORT)
    assert (
        code == 2 and "page.html: exists and is not what this program wrote there" in err and "on synthetic" not in err
    )


def test_every_command_that_writes_is_among_these(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    modules = [path for folder in ("models", "spectral") for path in sorted((ROOT / folder).rglob("*.py"))]
    writing = set()
    for path in modules:
        if 'if __name__ == "__main__":' not in (text := path.read_text()) or "add_typer" in text:
            continue
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        monkeypatch.setattr(sys, "argv", [module, "--help"])
        with pytest.raises(SystemExit):
            runpy.run_module(module, run_name="__main__")
        if any(option in capsys.readouterr().out for option in ("--out", "--result")):
            writing.add(module)
    assert writing and writing <= {line.split()[0] for line in [*COMMANDS, REPORT]}


def test_notebooks_leave_a_picture_alone_that_they_did_not_draw(tmp_path: Path):
    figure, table = plot.ring_graph(8, (0, 1)).figure, pd.DataFrame({"k": [1]})
    gallery = Gallery(tmp_path, "ml-100k")
    gallery.save(figure, "fig2a", table, caption="A ring.", see="Waves.")
    gallery.save(figure, "fig2a", table, caption="A ring.", see="Waves.")
    for name in ("fig2a.png", "fig2a.csv", "fig2a.json"):
        (tmp_path / "ml-100k" / name).write_text("my notes")
        with pytest.raises(Exception, match=rf"{name}: exists and is not"):
            gallery.save(figure, "fig2a", table, caption="A ring.", see="Waves.")
        assert (tmp_path / "ml-100k" / name).read_text() == "my notes"
        (tmp_path / "ml-100k" / name).unlink()


def test_times_of_an_earlier_import_do_not_stay_beside_other_sequences(run, tmp_path: Path):
    command = "models.datasets import shop.csv --user who --item what --core 1"
    assert run(f"{command} --time when")[0] == 0 and (tmp_path / "shop.times.txt").exists()
    assert run(command)[0] == 0 and not (tmp_path / "shop.times.txt").exists()
    (tmp_path / "shop.times.txt").write_text("my notes")
    assert run(command)[0] == 2 and (tmp_path / "shop.times.txt").read_text() == "my notes"


def test_a_link_in_place_of_the_record_is_not_followed(run, tmp_path: Path):
    (tmp_path / "elsewhere").write_text("their notes")
    (tmp_path / RECORD).symlink_to(tmp_path / "elsewhere")
    code, _, err = run("models.datasets describe ml-100k --out sizes.csv")
    assert code == 2 and RECORD in err and not (tmp_path / "sizes.csv").exists()
    assert (tmp_path / "elsewhere").read_text() == "their notes"
