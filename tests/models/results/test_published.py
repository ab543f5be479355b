"""The file of published numbers: what it may hold, and which number is set beside a system."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import DataError
from models.results.published import FILE, KINDS, published, read_published


def test_all_numbers_have_a_source_and_none_occurs_twice():
    entries = read_published()
    assert len(entries) > 200 and all(entry.source and entry.kind in KINDS for entry in entries)
    assert len({(e.dataset, e.model, e.metric, e.negatives, e.source, e.seeds, e.notes) for e in entries}) == len(
        entries
    )


def test_numbers_that_are_known():
    assert published("beauty", "BSARec").value == 0.0703
    assert published("ml-1m", "BSARec").metric == "NDCG@10"  # a quoted table goes before a re-run
    assert published("lastfm", "SASRec").seeds == 5
    assert published("lastfm", "Caser") is None and published("ml-100k", "BSARec") is None


def test_authors_go_before_others_and_another_protocol_is_never_taken():
    own = next(entry for entry in read_published() if entry.kind == "authors" and entry.model == "BSARec")
    other = replace(own, kind="re-run", seeds=5, metric="NDCG@20", value=0.5)
    assert published(own.dataset, "BSARec", [other, own]) is own
    assert published(own.dataset, "BSARec", [replace(own, kind="other protocol")]) is None
    assert published(own.dataset, "BSARec", [replace(own, negatives=99)]) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.0721", "7.21", "line 2: needs a value between 0 and 1"),
        ("0.0721", "x", "line 2: value, seeds and negatives must be numbers"),
        ("HR@5", "HR@7", "line 2, metric: expected one of NDCG@20"),
        ("beauty", "books", "line 2, dataset: expected one of ml-100k"),
        ("dataset,model", "model,dataset", "its first line must be dataset,model,metric"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, message: str):
    (tmp_path / "published.csv").write_text(FILE.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_published(tmp_path / "published.csv")
