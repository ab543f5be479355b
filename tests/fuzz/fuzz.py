"""Open mutated checkpoints and tables, thousands a minute, and count what must not happen.

python tests/fuzz/fuzz.py [--seed 0] [--minutes 1 | --mutants 10000] [--kind checkpoints|tables] [--keep FOLDER]

Each mutant has a number; with the seed, it is always the same (in files of torch's older format, but for the names of
storages, which are addresses). Mutants with faults are kept in the folder,
and `--only NUMBER` opens one again and prints what happened. The exit code is 1 if there are faults.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import origins
import trials
from mutations import mutated

BATCH = 25  # mutants a child
COUNTED = ("executed", "written", "read", "poisoned", "traceback", "message", "hang", "memory", "killed")


class Fuzzer:
    """Mutants of all origins of a kind, written into a folder.

    Args:
        kind: checkpoints, tables or all.
        seed: Of the mutants.
        folder: Where the mutants are written.
    """

    def __init__(self, kind: str, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        self.good: dict[str, origins.Origin] = {}
        self.good |= origins.checkpoints() if kind != "tables" else {}
        self.good |= origins.tables() if kind != "checkpoints" else {}
        references = {**origins.checkpoints()}
        self.references = [
            self._write(folder.with_name("reference") / name, references[name].files) / references[name].opened
            for name in ("ours-bsarec", "recbole-4")
        ]
        trials.warm(*self.references)
        for name, origin in self.good.items():
            self._check(name, origin)
        self.expected = self.reference()

    def reference(self) -> list[bytes]:
        """Return what good files are read as."""
        return [trials.numbers_of(path) for path in self.references]

    def run(self, numbers: list[int]) -> Iterator[tuple[int, str, trials.Outcome]]:
        """Open these mutants; yield number, origin, and what happened."""
        names, actions, before = [], [], {}
        for number in numbers:
            random_ = random.Random(f"{self.seed}-{number}")
            name = random_.choice(list(self.good))
            place = self.folder / str(number)
            files = mutated(self.good[name], random_, canary=str(self.folder / "canary"))
            names.append(name)
            actions.append(partial(self.good[name].use, self._write(place, files) / self.good[name].opened))
        before = self._listing()
        outcomes = list(trials.attempts(actions, self.folder, self.reference, self.expected))
        if self._listing() != before:
            raise SystemExit(f"something was written into {self.folder} by one of the mutants {numbers}")
        yield from zip(numbers, names, outcomes, strict=True)

    def _check(self, name: str, origin: origins.Origin) -> None:
        """Raise AssertionError if the good file cannot be used; a checkpoint may still ask for its data."""
        from models.errors import DataError

        try:
            origin.use(self._write(self.folder.with_name("good") / name, origin.files) / origin.opened)
        except DataError as error:
            assert "--data" in str(error), f"{name}: {error}"

    def _listing(self) -> list[tuple[str, int, int]]:
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found)

    @staticmethod
    def _write(folder: Path, files: dict[str, bytes]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--mutants", type=int, help="this many, however long it takes")
    parser.add_argument("--kind", choices=("all", "checkpoints", "tables"), default="all")
    parser.add_argument("--keep", type=Path, help="folder for mutants with faults")
    parser.add_argument("--only", type=int, help="open this one, and print what happened")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    return parser.parse_args()


def main() -> int:
    """Run the fuzzer and print the figures."""
    given = parse()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "mutants")
        folder.mkdir()
        fuzzer = Fuzzer(given.kind, given.seed, folder)
        if given.only is not None:
            ((_, name, outcome),) = fuzzer.run([given.only])
            print(name, json.dumps(asdict(outcome), indent=1), outcome.message, sep="\n")
            return bool(outcome.faults)
        return _many(fuzzer, given)


def _many(fuzzer: Fuzzer, given: argparse.Namespace) -> int:
    started, number = time.monotonic(), 0
    found: Counter[str] = Counter()
    slowest = largest = 0.0
    while number < given.mutants if given.mutants else time.monotonic() - started < 60 * given.minutes:
        for mutant, name, outcome in fuzzer.run(list(range(number, number + BATCH))):
            found.update(["mutants", "used" if outcome.code == 0 else "refused", *outcome.faults])
            slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.memory)
            if outcome.faults:
                said = outcome.message.splitlines()[-1:] or [str(outcome.executed or outcome.written or outcome.read)]
                print(f"{mutant} of {name}: {', '.join(outcome.faults)}: {said[0][:200]}", file=sys.stderr)
                if given.keep:
                    shutil.copytree(
                        fuzzer.folder / str(mutant), given.keep / f"{given.seed}-{mutant}", dirs_exist_ok=True
                    )
        number += BATCH
        for place in fuzzer.folder.iterdir():
            shutil.rmtree(place)
    figures = {
        **{name: found[name] for name in ("mutants", "used", "refused", *COUNTED)},
        "seconds": round(time.monotonic() - started, 1),
        "slowest_seconds": round(slowest, 2),
        "most_memory_mb": round(largest),
    }
    print(json.dumps(figures) if given.json else "\n".join(f"{name:16} {value}" for name, value in figures.items()))
    return int(any(found[name] for name in COUNTED))


if __name__ == "__main__":
    sys.exit(main())
