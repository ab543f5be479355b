"""MovieLens-1M, from small archives that the tests make."""

import zipfile
from pathlib import Path

import pytest

from models.datasets import files, load, load_attributes, movielens_1m, names
from models.errors import DataError


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
