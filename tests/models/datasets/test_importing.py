"""Tables of interactions, MovieLens-1M and attributes of items, from small files that the tests make."""

import json
import logging
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.datasets import files, load, load_attributes, movielens_1m, names
from models.datasets.attributes import read_attributes
from models.datasets.importing import import_table
from models.datasets.statistics import statistics_table
from models.errors import ConfigError, DataError

Command = Callable[..., subprocess.CompletedProcess[str]]

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
    path, users, items = imported.save(tmp_path / "new" / "shop.txt")
    assert load(path).fingerprint == imported.sequences.fingerprint
    assert pd.read_csv(users, dtype=str).name.tolist() == ["b", "a", "007"]
    assert pd.read_csv(items).id.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        (ROWS, "whom", r"shop.csv has no column 'whom'; it has 'who', 'what', 'when'"),
        (
            [*ROWS, ("a", "x", "soon")],
            "who",
            r"shop.csv, line 14, column 'when': 'soon' is neither a number nor a date",
        ),
        (ROWS[:3], "who", r"shop: no user and item with at least 3 interactions"),
        ([("a", None, 1)], "who", r"no row has a user, an item and a time"),
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
    with pytest.raises(DataError, match=r"shop.csv: its rows have more values than its first line has names"):
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
    with pytest.raises(ConfigError, match="must be three columns, got 'who', 'who' and 'when'"):
        import_table(write(tmp_path / "shop.csv"), "who", "who", "when")
    with pytest.raises(ConfigError, match="at least 1"):
        import_table(write(tmp_path / "shop.csv"), "who", "what", "when", k=0)


def test_the_command_says_what_became_of_the_rows(command: Command, tmp_path: Path):
    write(tmp_path / "shop.csv")
    options = ["import", "shop.csv", "--user", "who", "--item", "what", "--time", "when", "--core", "3"]
    done = command("models.datasets", *options, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["counts"]["duplicates"] == 1 and found["files"][0] == "shop.sequences"
    assert "duplicates" in command("models.datasets", *options).stdout
    trained = command("models.datasets", "describe", "shop.sequences")
    assert "users             3" in trained.stdout
    for out in ("shop.csv", "./shop.csv"):
        over = command("models.datasets", *options, "--out", out)
        assert over.returncode == 2 and "shop.csv would be written over" in over.stderr
    wrong = command("models.datasets", *options[:3], "nobody", *options[4:])
    assert wrong.returncode == 2 and "no column 'nobody'" in wrong.stderr


def archive(path: Path, lines: list[str], member: str = movielens_1m.RATINGS, movies: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as target:
        target.writestr(member, "".join(f"{line}\n" for line in lines))
        if movies:
            target.writestr(movielens_1m.MOVIES, movies.encode("latin-1"))
    return path


def test_movielens_1m_keeps_its_core_in_time_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    films = [50, 3, 9, 4, 7]
    lines = [f"{user}::{film}::4::{1000 - (film == 9)}" for user in (6, 2, 4, 8, 5) for film in films]
    path = archive(tmp_path / movielens_1m.ARCHIVE, [*lines, "6::99::1::5", "77::3::1::5"])
    monkeypatch.setenv(files.DATA_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match="is not the published file"):
        load("ml-1m")
    sequences = movielens_1m.read(path)
    assert "ml-1m" in names() and sequences.source == "ml-1m"
    assert sequences.users.tolist() == [6, 2, 4, 8, 5]
    # Film 9 was rated first; the others share a second and keep the order of their lines. Numbers go by the sequences.
    assert sequences.items.reshape(5, 5).tolist() == [[1, 2, 3, 4, 5]] * 5
    swapped = [f"{user}::{film}::4::{10 - (film == 9) * (user == 1)}" for user in (1, 2, 3, 4, 5) for film in films]
    items = movielens_1m.read(archive(tmp_path / "x.zip", swapped)).items.reshape(5, 5)
    assert items[0].tolist() == [1, 2, 3, 4, 5] and items[1].tolist() == [2, 3, 1, 4, 5]


def test_movielens_1m_is_also_a_text_file_known_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(files.DATA_DIR_VARIABLE, str(tmp_path))
    text = tmp_path / movielens_1m.TEXT
    text.write_text("1 1 2 3\n2 2 1 3\n")
    with pytest.raises(DataError, match=r"ML-1M.txt is not the published file: its SHA-256 is"):
        load("ml-1m")
    monkeypatch.setattr(movielens_1m, "TEXT_SHA256", files.sha256(text))
    assert load("ml-1m").items.tolist() == [1, 2, 3, 2, 1, 3] and load("ml-1m").source == "ml-1m"
    with pytest.raises(DataError, match=r"ML-1M_item2attributes.json is missing.*or use ml-1m.zip instead"):
        load_attributes("ml-1m", 3)
    for name, content in (("GENRES", '{"1": [2], "2": [1, 2], "3": [1]}'), ("GENRE_NAMES", '{"War": 2, "Drama": 1}')):
        file = tmp_path / getattr(movielens_1m, name)[0]
        file.write_text(content)
        monkeypatch.setattr(movielens_1m, name, (file.name, files.sha256(file)))
    genres = load_attributes("ml-1m", 3)
    assert genres.names == ("Drama", "War") and genres.of(2).tolist() == [1, 2] and genres.of(1).tolist() == [2]


@pytest.mark.parametrize(
    ("lines", "member", "message"),
    [
        (["1::2::3::4", "1:2:3"], movielens_1m.RATINGS, r"x.zip, ml-1m/ratings.dat, line 2: expected user::item::rat"),
        (
            ["1::2::3::4", "1::2::5"],
            movielens_1m.RATINGS,
            r"line 2: expected user::item::rating::second, got '1::2::5'",
        ),
        (["1::2::3::4", "1::2::3::noon"], movielens_1m.RATINGS, r"line 2, field second: expected a whole.*got 'noon'"),
        (["1::9999999999999999999::3::4"], movielens_1m.RATINGS, r"line 1, field item"),
        (["1::2::3::4", "", "1::2::3::4"], movielens_1m.RATINGS, r"line 2: expected user"),
        ([], movielens_1m.RATINGS, "nothing is left"),
        (["1::2::3::4"], "else.dat", "has no ml-1m/ratings.dat"),
        (["1::2::3::4"], movielens_1m.RATINGS, "nothing is left"),
    ],
)
def test_a_faulty_archive_is_named(tmp_path: Path, lines: list[str], member: str, message: str):
    with pytest.raises(DataError, match=message):
        movielens_1m.read(archive(tmp_path / "x.zip", lines, member))


def test_the_genres_of_movielens_1m_are_those_of_the_items_that_are_left(tmp_path: Path):
    ratings = [f"{user}::{film}::4::1" for user in range(1, 6) for film in (50, 3, 9, 4, 7)]
    movies = "3::Été: a film (1999)::Drama|War\n50::A::B (2000)::Comedy\n8::Unrated (2000)::Western\n"
    path = archive(tmp_path / "x.zip", ratings, movies=movies)
    assert movielens_1m.read_genres(path) == [["Comedy"], ["Drama", "War"], [], [], []]
    earlier = [line[:-1] + "0" if "::7::" in line else line for line in ratings]  # then film 7 is item 1
    genres = movielens_1m.read_genres(archive(tmp_path / "z.zip", earlier, movies=movies))
    assert genres == [[], ["Comedy"], ["Drama", "War"], [], []]
    with pytest.raises(DataError, match=r"ml-1m/movies.dat, line 2: expected item::title::genre\|genre, got 'x'"):
        movielens_1m.read_genres(archive(tmp_path / "y.zip", ratings, movies="3::A::Drama\nx\n"))


def test_attributes_are_grouped_by_item(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "attributes.json"
    path.write_text('{"2": [7, 3, 7], "1": [1], "9": [2]}')
    with caplog.at_level(logging.WARNING, logger="models"):
        attributes = read_attributes(path, 3)
    assert "left out 1 items" in caplog.text
    assert [attributes.of(item).tolist() for item in (1, 2, 3)] == [[1], [3, 7], []]
    matrix = attributes.matrix(np.array([[0, 2], [1, 3]]))
    assert matrix.shape == (2, 2, 7) and matrix.sum() == 3 and matrix[0, 1, [2, 6]].all()
    assert [attributes.items_of(attribute).tolist() for attribute in (1, 2, 3, 7)] == [[1], [], [2], [2]]
    assert attributes.sparse.shape == (4, 7) and attributes.sparse.nnz == 3
    np.testing.assert_array_equal(attributes.sparse.toarray(), attributes.matrix(np.arange(4)))
    with pytest.raises(ValueError, match=r"1\.\.3, got 4"):
        attributes.of(4)


@pytest.mark.parametrize("text", ["[1]", "{", '{"x": [1]}', '{"1": 3}', '{"1": [0]}'])
def test_faulty_attributes_are_named(tmp_path: Path, text: str):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a.json: expected attributes"):
        read_attributes(tmp_path / "a.json", 3)


def test_a_dataset_without_attributes_is_named():
    with pytest.raises(DataError, match=r"'synthetic'.*ml-100k.*beauty.*lastfm"):
        load_attributes("synthetic", 10)


def test_statistics_of_several_datasets():
    datasets = [load("synthetic:users=30,items=20"), load("synthetic:users=40,items=20")]
    table = statistics_table(datasets, 10)
    assert table.users.tolist() == [30, 40]
    assert table.training_samples.tolist() == [len(sequences.prefixes(10)) for sequences in datasets]
    assert table.average_length.tolist() == [sequences.lengths.mean() for sequences in datasets]


def test_the_statistics_are_written_as_a_table(command: Command, tmp_path: Path):
    done = command("models.datasets", "describe", "synthetic:users=30", "synthetic", "--out", "new/table.csv")
    assert done.returncode == 0 and "wrote new/table.csv" in done.stderr
    table = pd.read_csv(tmp_path / "new" / "table.csv")
    assert table.name.tolist() == ["synthetic:users=30", "synthetic"] and table.users.tolist() == [30, 300]
    assert table.notna().all(axis=None)
