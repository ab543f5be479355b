"""Tables of interactions become datasets, and what a table lacks is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from models.datasets import load
from models.datasets.importing import import_table
from models.errors import ConfigError, DataError

Call = Callable[..., tuple[int, str, str]]

# user, item, time; what a core of 3 leaves are users a and b with items x, y and z
ROWS = [
    ("b", "y", 30),
    ("a", "x", 5),
    ("a", "z", 1),  # earlier than the row of the same user above
    ("b", "x", 31),
    ("007", "x", 1),
    ("a", "y", 5),  # the same time as x, a row later
    ("b", "z", 40),
    ("a", "y", 5),  # a duplicate
    ("a", "w", 9),  # an item of one user
    ("007", "y", 2),
    ("c", None, 3),
    ("007", "z", 2),
]

SEQUENCES = {"b": ["y", "x", "z"], "a": ["z", "x", "y"], "007": ["x", "y", "z"]}


def write(path: Path, rows: list[tuple[object, ...]] = ROWS) -> Path:
    table = pd.DataFrame(rows, columns=["who", "what", "when"])
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep={".tsv": "\t", ".dat": "|"}.get(path.suffix, ","))
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".dat"])
def test_a_table_becomes_sequences_in_time_order(tmp_path: Path, ending: str):
    path = write(tmp_path / f"shop{ending}")
    imported = import_table(path, "who", "what", "when", k=3, separator="|" if ending == ".dat" else None)
    sequences = imported.sequences
    found = {
        imported.users[row]: [imported.items[item - 1] for item in sequences.items[a:b]]
        for row, (a, b) in enumerate(zip(sequences.offsets, sequences.offsets[1:], strict=False))
    }
    assert found == SEQUENCES and list(found) == ["b", "a", "007"]
    assert list(imported.items) == ["y", "x", "z"]  # by first appearance
    counts = imported.counts
    assert (counts.rows, counts.without_value, counts.duplicates, counts.outside_core) == (12, 1, 1, 1)
    assert (counts.users_outside_core, counts.items_outside_core) == (0, 1)
    assert (counts.kept, counts.users, counts.items, counts.out_of_order) == (9, 3, 3, 1)
    assert sequences.source == ""  # the table itself is nothing that `load` reads


def test_dates_are_times_as_well(tmp_path: Path):
    days = [(user, item, f"2024-01-{time:02d} 10:00:00") for user, item, time in ROWS if item and time <= 31]
    rows = [*days, ("b", "z", "2024-02-09")]
    imported = import_table(write(tmp_path / "shop.csv", rows), "who", "what", "when", k=3)
    assert (
        imported.sequences.items.tolist()
        == import_table(write(tmp_path / "numbers.csv"), "who", "what", "when", k=3).sequences.items.tolist()
    )


def test_what_was_saved_loads_as_a_dataset(tmp_path: Path):
    imported = import_table(write(tmp_path / "shop.csv"), "who", "what", "when", k=3)
    path, _times, users, items = imported.save(tmp_path / "new" / "shop.txt")
    assert load(path).fingerprint == imported.sequences.fingerprint
    assert pd.read_csv(users, dtype=str).name.tolist() == ["b", "a", "007"]
    assert pd.read_csv(items).id.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        (ROWS, "whom", r"shop.csv has no column 'whom'; did you mean 'who'\? It has 'who', 'what', 'when'"),
        (
            [*ROWS, ("a", "x", "soon")],
            "who",
            r"shop.csv, line 14, column 'when': 'soon' is neither a number nor a date",
        ),
        (ROWS[:3], "who", r"shop: no user and item with at least 3 interactions"),
        ([("a", None, 1)], "who", r"no row has a value of each of who, what and when"),
    ],
)
def test_what_a_table_lacks_is_named(tmp_path: Path, rows: list, column: str, message: str):
    with pytest.raises(DataError, match=message):
        import_table(write(tmp_path / "shop.csv", rows), column, "what", "when", k=3)


def test_a_wrong_time_is_named_with_its_line_in_the_file(tmp_path: Path):
    path = tmp_path / "shop.csv"
    path.write_text('who,what,when,said\n\na,x,1,"two\nlines"\n\na,y,soon,\n')
    with pytest.raises(DataError, match=r"shop.csv, line 6, column 'when': 'soon'"):
        import_table(path, "who", "what", "when")
    path.write_text("who::what::when\n\na::x::1\n\na::y::soon\n")
    with pytest.raises(DataError, match=r"shop.csv, line 5, column 'when': 'soon'"):
        import_table(path, "who", "what", "when", separator="::")
    parquet = write(tmp_path / "shop.parquet", [("a", "x", "1"), ("a", None, "2"), ("a", "x", "soon")])
    with pytest.raises(DataError, match=r"shop.parquet, row 3, column 'when': 'soon'"):
        import_table(parquet, "who", "what", "when")


def test_numbers_of_a_parquet_table_stay_whole_where_some_are_missing(tmp_path: Path):
    users = pd.array([*(user for user in (1, 2, 2**60 + 1) for _ in range(3)), None], dtype="Int64")
    table = pd.DataFrame({"who": users, "what": [7, 8, 9] * 3 + [7], "when": range(10)})
    for path, written in ((tmp_path / "column.parquet", table), (tmp_path / "index.parquet", table.set_index("who"))):
        written.to_parquet(path)
        imported = import_table(path, "who", "what", "when", k=3)
        assert [str(user) for user in imported.users] == ["1", "2", str(2**60 + 1)]
        assert imported.counts.without_value == 1


def test_rows_longer_than_the_first_line_are_refused(tmp_path: Path):
    path = tmp_path / "shop.csv"
    path.write_text("who,what,when\na,x,1,5\na,y,2,5\n")
    with pytest.raises(DataError, match=r"shop.csv cannot be read as a table: .*line 2"):
        import_table(path, "who", "what", "when")
    path.write_text("who,what,when\na,x,1\na,y,2,5\n")
    with pytest.raises(DataError, match=r"shop.csv cannot be read as a table: .*line 3"):
        import_table(path, "who", "what", "when")


@pytest.mark.parametrize(("given", "between"), [("::", "::"), (r"\t", "\t"), ("||", "||")])
def test_any_separator_is_taken_literally_and_without_a_warning(
    tmp_path: Path, given: str, between: str, recwarn: pytest.WarningsRecorder
):
    path = tmp_path / "shop.dat"
    rows = ["who,what,when", *(f"{user},{item},1" for user in "abc" for item in "xyz")]
    path.write_text("\n".join(rows).replace(",", between))
    imported = import_table(path, "who", "what", "when", k=3, separator=given)
    assert list(imported.users) == list("abc") and not recwarn.list


def test_too_small_a_core_for_the_split_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"a user has 2 interactions, and 3 are needed"):
        import_table(write(tmp_path / "shop.csv", [*ROWS, ("d", "x", 1), ("d", "y", 2)]), "who", "what", "when", k=2)


def test_files_that_are_no_tables_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--separator"):
        import_table(write(tmp_path / "shop.dat"), "who", "what", "when")
    with pytest.raises(DataError, match=r"is not a file"):
        import_table(tmp_path / "none.csv", "who", "what", "when")
    (tmp_path / "broken.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"cannot be read as a table"):
        import_table(tmp_path / "broken.parquet", "who", "what", "when")
    with pytest.raises(ConfigError, match="must be different columns, got who, who and when"):
        import_table(write(tmp_path / "shop.csv"), "who", "who", "when")
    with pytest.raises(ConfigError, match="at least 1"):
        import_table(write(tmp_path / "shop.csv"), "who", "what", "when", k=0)


def test_the_command_says_what_became_of_the_rows(call: Call, tmp_path: Path):
    write(tmp_path / "shop.csv")
    options = ["import", "shop.csv", "--user", "who", "--item", "what", "--time", "when", "--core", "3"]
    code, out, err = call("models.datasets", *options, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["counts"]["duplicates"] == 1 and found["files"][0] == "shop.sequences"
    assert "duplicates" in call("models.datasets", *options)[1]
    (tmp_path / "shop.sequences").rename(tmp_path / "before")
    _, out, err = call("models.datasets", *options, "--dry-run")
    assert out.splitlines()[:3] == ["  user  item  time", "  b     y     30", "  a     x     5"]
    assert "order: by time, numbers" in err and "nothing was written" in err
    found_by_preview = json.loads(call("models.datasets", *options, "--dry-run", "--json")[1])
    assert found_by_preview["counts"] == found["counts"] and found_by_preview["files"] == []
    assert found_by_preview["reading"]["first"][0] == ["b", "y", "30"]
    assert not (tmp_path / "shop.sequences").exists()
    (tmp_path / "before").rename(tmp_path / "shop.sequences")
    assert "users             3" in call("models.datasets", "describe", "shop.sequences")[1]
    for out in ("shop.csv", "./shop.csv"):
        code, _, err = call("models.datasets", *options, "--out", out)
        assert code == 2 and "shop.csv: exists and is not what this program wrote" in err
    code, _, err = call("models.datasets", *options[:3], "nobody", *options[4:])
    assert code == 2 and "no column 'nobody'" in err
    code, _, err = call("models.datasets", *options, "--day-first", "--date-format", "%d", "--dry-run")
    assert code == 2 and "not both" in err
