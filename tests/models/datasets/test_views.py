"""Parts of a dataset before a moment, and other orders of ties, against plain loops over users."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets import Sequences, load, views
from models.datasets.importing import import_table
from models.errors import ConfigError, DataError


@st.composite
def timed(draw: st.DrawFn) -> Sequences:
    """Sequences of a few users with few distinct times, so that there are ties."""
    lengths = draw(st.lists(st.integers(3, 9), min_size=2, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    times = np.concatenate([np.sort(rng.integers(0, 12, length)) for length in lengths])
    items = rng.integers(1, 9, sum(lengths)).astype(np.int32)
    return Sequences("x", np.arange(len(lengths)), items, np.r_[0, np.cumsum(lengths)], source="x", times=times)


def by_user(sequences: Sequences) -> dict[int, list[tuple[int, int]]]:
    assert sequences.times is not None
    cut = zip(sequences.users, sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    return {u: list(zip(sequences.items[a:b], sequences.times[a:b], strict=True)) for u, a, b in cut}


@given(timed(), st.sampled_from([0.2, 0.5, 0.8, 0.99]))
def test_what_is_before_a_moment_and_who_is_after_it(sequences: Sequences, share: float):
    ordered = sorted(int(time) for time in sequences.times)
    moment = ordered[min(-int(-share * len(ordered) // 1), len(ordered) - 1)]
    assert views.moment(sequences, share) == moment
    kept = {user: [pair for pair in pairs if pair[1] < moment] for user, pairs in by_user(sequences).items()}
    expected = {user: pairs for user, pairs in kept.items() if len(pairs) >= 3}
    if not expected:
        with pytest.raises(DataError, match=r"no user has 3 items before \d+% of the interactions"):
            views.before(sequences, share)
    else:
        found = views.before(sequences, share)
        assert by_user(found) == expected and found.num_items == sequences.num_items
        assert found.skipped == len(kept) - len(expected)
    after = [pairs[-1][1] >= moment for pairs in by_user(sequences).values()]
    assert views.at_or_after(sequences, share).tolist() == after


@given(timed())
def test_ties_are_ordered_by_item_or_reversed(sequences: Sequences):
    pairs = by_user(sequences)
    by_item = {user: sorted(of_user, key=lambda pair: (pair[1], pair[0])) for user, of_user in pairs.items()}
    assert by_user(views.reordered(sequences, "item")) == by_item
    backwards = {user: sorted(of_user[::-1], key=lambda pair: pair[1]) for user, of_user in pairs.items()}
    assert by_user(views.reordered(sequences, "reversed")) == backwards


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """An imported table of 40 customers, who come one after the other."""
    rng = np.random.default_rng(0)
    rows = [(f"c{u}", f"p{i}", 3 * u + t) for u in range(40) for t, i in enumerate(rng.integers(0, 12, 8))]
    pd.DataFrame(rows, columns=["who", "what", "when"]).to_csv(tmp_path / "shop.csv", index=False)
    import_table(tmp_path / "shop.csv", "who", "what", "when").save(tmp_path / "shop.txt")
    return tmp_path / "shop.txt"


def test_an_imported_table_keeps_its_times(shop: Path):
    whole = load(str(shop))
    table = import_table(shop.with_name("shop.csv"), "who", "what", "when").sequences
    assert whole.fingerprint == table.fingerprint
    assert np.array_equal(
        np.unique(whole.times, return_inverse=True)[1], np.unique(table.times, return_inverse=True)[1]
    )
    part = load(f"{shop}:until=0.5")
    assert part.name == "shop:until=0.5" and 0 < part.num_users < 40 and part.num_items == whole.num_items
    assert load(part.source).fingerprint == part.fingerprint != whole.fingerprint
    assert load(f"{shop}:ties=item").num_users == 40


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("until=2", ConfigError, "until must be a number between 0 and 1"),
        ("until=soon", ConfigError, "got 'soon'"),
        ("ties=random", ConfigError, "ties must be item or reversed, got 'random'"),
        ("until=0.001", DataError, "no user has 3 items before 0% of the interactions"),
    ],
)
def test_an_impossible_view_is_refused(shop: Path, name: str, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        load(f"{shop}:{name}")


def test_times_that_are_missing_or_do_not_fit_are_named(shop: Path):
    shop.with_name("shop.times.txt").write_text("1 5 6 7\n")
    with pytest.raises(DataError, match=r"shop\.times\.txt must have a time for each item"):
        load(str(shop))
    shop.with_name("shop.times.txt").unlink()
    with pytest.raises(DataError, match="shop has no times of its interactions; ml-100k has them"):
        load(f"{shop}:until=0.5")
    with pytest.raises(ValueError, match="there must be a time for each of the 3 items"):
        Sequences("x", np.array([1]), np.array([1, 2, 3], np.int32), np.array([0, 3]), times=np.array([1, 2]))


def test_a_table_in_order_has_no_times(tmp_path: Path):
    rows = [(f"c{u}", f"p{(u + t) % 7}") for u in range(12) for t in range(7)]
    pd.DataFrame(rows, columns=["who", "what"]).to_csv(tmp_path / "plain.csv", index=False)
    saved = import_table(tmp_path / "plain.csv", "who", "what").save(tmp_path / "plain.txt")
    assert [path.name for path in saved] == ["plain.txt", "plain.users.csv", "plain.items.csv"]
    assert load(str(tmp_path / "plain.txt")).times is None
