"""A global split by time beside leave-one-out: trained before it, tested after it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from repository import ROOT

import models
from models.datasets import load, views
from models.datasets.importing import import_table
from models.evaluation import rank_targets, summarise
from models.protocols import AFTER, ALL, REORDERED, TEMPORAL, compare_protocols, compared
from models.results.runs import read
from models.train import train

Call = Callable[..., tuple[int, str, str]]
SETTINGS = {"epochs": 1, "max_len": 6, "hidden_size": 8, "num_layers": 1, "seed": 3, "show_progress": False}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported table of 60 customers; most come once, and some come back at the end."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    rows = [(f"c{u}", f"p{i}", 5 * u + t // 2) for u in range(60) for t, i in enumerate(rng.integers(0, 25, 10))]
    rows += [(f"c{u}", f"p{u % 25}", 1000 + u) for u in range(0, 60, 6)]
    pd.DataFrame(rows, columns=["who", "what", "when"]).to_csv(folder / "shop.csv", index=False)
    import_table(folder / "shop.csv", "who", "what", "when").save(folder / "shop.txt")
    return folder / "shop.txt"


def test_a_model_trained_before_a_moment_is_tested_on_the_users_after_it(shop: Path, call: Call):
    path = train("sasrec", f"{shop}:until=0.7", out=shop.with_name("before.pt"), **SETTINGS).path
    code, out, err = call(
        "models.evaluate", path, "--protocol", "temporal", "--data", shop, "--json", "--per-user", "u.csv"
    )
    assert code == 0 and "note" not in err, err
    whole = load(str(shop))
    after = views.at_or_after(whole, 0.7)
    ranks = rank_targets(models.load(path), whole, "test")
    assert json.loads(out) == pytest.approx(summarise(ranks[after]))
    assert pd.read_csv("u.csv")["user"].tolist() == whole.users[after].tolist()
    assert 0 < after.sum() < whole.num_users


def test_a_model_that_has_seen_the_future_is_said(shop: Path, call: Call, caplog: pytest.LogCaptureFixture):
    path = train("sasrec", str(shop), out=shop.with_name("whole.pt"), **SETTINGS).path
    code, out, _ = call("models.evaluate", path, "--protocol", "temporal", "--data", shop, "--json")
    assert code == 0 and "has seen the future; train it on the part before with: python -m models.train" in caplog.text
    after = views.at_or_after(load(str(shop)), views.SHARE)
    assert json.loads(out) == pytest.approx(summarise(rank_targets(models.load(path), load(str(shop)), "test")[after]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "future"], "--protocol must be one of leave-one-out, temporal, got 'future'"),
        (["--protocol", "temporal", "--split", "valid"], "drop --split valid"),
        (["--protocol", "temporal", "--result", "r.json"], "--result keeps the published protocol"),
        (["--protocol", "temporal"], "has no times of its interactions"),
    ],
)
def test_what_the_temporal_protocol_cannot_do_is_said(call: Call, checkpoint: Path, options: list[str], message: str):
    code, _, err = call("models.evaluate", checkpoint, *options)
    assert code == 2 and message in err


def test_other_data_than_the_part_that_was_trained_on_are_refused(shop: Path, call: Call, tmp_path: Path):
    path = train("sasrec", f"{shop}:until=0.7", out=tmp_path / "a.pt", **SETTINGS).path
    user, *items = shop.read_text().splitlines()[0].split()
    changed = shop.with_name("changed.txt")
    changed.write_text("\n".join([" ".join([user, *items[::-1]]), *shop.read_text().splitlines()[1:]]))
    changed.with_name("changed.times.txt").write_text(shop.with_name("shop.times.txt").read_text())
    code, _, err = call("models.evaluate", path, "--protocol", "temporal", "--data", changed)
    assert code == 2 and "is not what the checkpoint was trained on (shop:until=0.7)" in err


def test_protocols_are_compared_on_the_same_users(shop: Path):
    done = train("sasrec", str(shop), out=shop.with_name("sasrec-seed3.pt"), **SETTINGS)
    result = read(done.path.with_suffix(".json"))
    settings = {key: value for key, value in SETTINGS.items() if key not in ("seed", "show_progress")}
    given = {"sasrec": {"model": "sasrec", **settings}}
    found = compare_protocols({"sasrec": [result]}, given, str(shop), shop.with_name("runs"), 0.7, ["sasrec"])
    whole = load(str(shop))
    after = views.at_or_after(whole, 0.7)
    rows = found.rows.set_index("protocol")
    assert rows.index.tolist() == [ALL, AFTER, TEMPORAL, REORDERED]
    assert rows.users.tolist() == [60, after.sum(), after.sum(), 60] and set(rows.loss) == {"bce"}
    ranks = np.array(result.test_ranks)
    for protocol, of_users in ((ALL, ranks), (AFTER, ranks[after])):
        gained = np.where(of_users <= 20, 1 / np.log2(of_users + 1), 0)
        assert rows["NDCG@20"][protocol] == pytest.approx(gained.mean())
    before = views.before(whole, 0.7)
    assert found.new_users == sum(user not in set(before.users) for user in whole.users[after])
    other = views.reordered(whole, "item")
    assert found.moved == np.mean([whole.items[b - 1] != other.items[b - 1] for b in whole.offsets[1:]])
    same = [
        a == b
        for u, v in zip(whole.offsets[:-1], whole.offsets[1:], strict=True)
        for a, b in zip(whole.times[u : v - 1], whole.times[u + 1 : v], strict=True)
    ]
    assert found.ties == np.mean(same)
    assert "All are trained with the loss bce." in found.losses() and "one seed: users only" in found.to_markdown()


def test_a_difference_is_of_paired_users():
    rng = np.random.default_rng(0)
    first = rng.integers(1, 40, (3, 200))
    found = {row["protocol"]: row for row in compared({AFTER: first, TEMPORAL: first + 1})}
    gained = [np.where(ranks <= 20, 1 / np.log2(ranks + 1), 0).mean() for ranks in (first, first + 1)]
    row = found[TEMPORAL]
    assert row["difference"] == pytest.approx(gained[1] - gained[0]) and row["reference"] == AFTER
    assert row["difference_low"] < row["difference"] < row["difference_high"] < 0
    assert found[AFTER]["reference"] == "" and np.isnan(found[AFTER]["difference"]) and row["knows_seeds"]


def test_the_committed_table_says_both_protocols_and_the_effect_of_the_order():
    table = pd.read_csv(ROOT / "figures/ml-100k/table_protocols.csv", keep_default_na=False)
    for _, rows in table.groupby("system"):
        assert rows.protocol.tolist()[:3] == [ALL, AFTER, TEMPORAL]
    assert REORDERED in set(table.protocol)
    note = json.loads((ROOT / "figures/ml-100k/table_protocols.json").read_text())
    assert "same second keep the order of the lines" in note["caption"] and "loss" in note["caption"]
    assert "51% of neighbouring interactions share their time" in note["see"]
    for system in table.system.unique():
        published = read(ROOT / f"figures/ml-100k/runs/quick/{system}-seed42.json")
        row = table[(table.system == system) & (table.protocol == ALL)].iloc[0]
        assert row["NDCG@20"] == pytest.approx(published.test["NDCG@20"]) and row.loss == published.training["loss"]
