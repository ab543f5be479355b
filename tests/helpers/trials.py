"""Opening files that may be hostile, each in a child that is forked from a process in which everything is loaded.

`python trials.py REFERENCE FILE...` opens each file and prints one JSON object a line; see Outcome. REFERENCE is a good
file of another program, which is opened after each of them.
"""

import contextlib
import gc
import io
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from repository import ROOT

USER_ERROR, BUG = 2, 1
# Events that the interpreter reports when code of a file runs; opening files is looked at one by one.
RUN = (
    *("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"),
    *("subprocess.Popen", "socket.connect", "socket.bind", "ctypes.dlopen", "shutil.rmtree", "webbrowser.open"),
)
CHANGED = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Outcome:
    """What happened when a file was opened."""

    code: int  # 0 if it could be used, 2 for a sentence, 1 for a traceback; -N if signal N ended the child
    message: str = ""
    seconds: float = 0.0
    memory: int = 0  # MiB above those before
    executed: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)  # files elsewhere that were opened
    poisoned: bool = False  # whether good files are read otherwise afterwards

    @property
    def faults(self) -> list[str]:
        """What must not happen, in words."""
        found = {
            "traceback": self.code == BUG,
            "message": self.code == USER_ERROR and not (self.message and self.message.isprintable()),
            "hang": self.code == -signal.SIGALRM,
            "memory": self.memory > LIMITS.memory,
            "killed": self.code < 0 and self.code != -signal.SIGALRM,
            "executed": bool(self.executed),
            "written": bool(self.written),
            "read": bool(self.read),
            "poisoned": self.poisoned,
        }
        return [name for name, happened in found.items() if happened]


@dataclass(frozen=True)
class Limits:
    """What opening a file may take."""

    seconds: int = 25
    memory: int = 500  # MiB above those before
    address_space: int = 6 * 1024  # MiB above that before


LIMITS = Limits()


def attempt(action: Callable[[], object], folder: Path, reference: Callable[[], object], expected: object) -> Outcome:
    """Do something in a child process; see `attempts`."""
    return next(attempts([action], folder, reference, expected))


def attempts(
    actions: Sequence[Callable[[], object]], folder: Path, reference: Callable[[], object], expected: object
) -> Iterator[Outcome]:
    """Do one thing after the other in a child process, which may only touch `folder`, and return what happened to each.

    After each, `reference()` is compared with `expected`. If one of them ends the child, the next is done in a new one.
    """
    done = 0
    while done < len(actions):
        receiver, sender = os.pipe()
        started = time.monotonic()
        child = os.fork()
        if not child:
            os.close(receiver)
            _in_child(sender, actions[done:], folder, reference, expected)
        os.close(sender)
        with os.fdopen(receiver) as pipe:
            for line in pipe:
                if line.endswith("\n"):
                    yield Outcome(**json.loads(line))
                    done, started = done + 1, time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if done < len(actions):
            yield Outcome(code or BUG, seconds=time.monotonic() - started)
            done += 1


def _in_child(sender: int, actions: Sequence[Callable[[], object]], folder: Path, reference, expected) -> None:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        most = _kibibytes("VmSize") * 1024 + (LIMITS.address_space << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        watch = _Watch(folder)
        sys.addaudithook(watch)
        for action in actions:
            signal.alarm(LIMITS.seconds)
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
            before, started = _kibibytes("VmRSS"), time.monotonic()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), watch as seen:
                code, message = _outcome(action)
            seconds, memory = time.monotonic() - started, (_kibibytes("VmHWM") - before) >> 10
            outcome = Outcome(code, message[:5000], seconds, memory, **seen, poisoned=reference() != expected)
            os.write(sender, f"{json.dumps(asdict(outcome))}\n".encode())
        os._exit(0)
    finally:
        os._exit(BUG)


def _kibibytes(name: str) -> int:
    """Return the size of this process that the kernel calls so."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split(maxsplit=1)[0])


def _outcome(action: Callable[[], object]) -> tuple[int, str]:
    from models.errors import UserError

    try:
        action()
    except UserError as error:
        return USER_ERROR, str(error)
    except OSError as error:
        return USER_ERROR, error.strerror or "an error of the operating system"
    except BaseException:
        return BUG, traceback.format_exc()[-3000:]
    return 0, ""


class _Watch:
    """Notes what the interpreter does beyond reading files of the folder, of this project and of Python."""

    def __init__(self, folder: Path) -> None:
        self.allowed = (str(folder), str(ROOT), sys.prefix, sys.base_prefix, "/proc/", "/sys/", "/usr/")
        self.loaded = {name.partition(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
        self.active = False
        self.seen: dict[str, list[str]] = {}

    def __enter__(self) -> dict[str, list[str]]:
        self.active, self.seen = True, {"executed": [], "written": [], "read": []}
        return self.seen

    def __exit__(self, *error: object) -> None:
        self.active = False

    def __call__(self, event: str, arguments: tuple) -> None:
        if not self.active:
            return
        if event in RUN or (event == "import" and arguments[0].partition(".")[0] not in self.loaded):
            self.seen["executed"].append(f"{event} {str(arguments)[:200]}")
        elif event in CHANGED:
            self.seen["written"].append(f"{event} {str(arguments)[:200]}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path, flags = os.fsdecode(arguments[0]), arguments[2]
            if flags & WRITES:
                self.seen["written"].append(path)
            elif os.path.isabs(path) and not path.startswith(self.allowed):
                self.seen["read"].append(path)


def use(path: str | Path, **settings: object) -> None:
    """Open a file, compute with its model, and look for its data, as commands do; published data are not fetched."""
    import torch

    import models
    from models.checkpoint import sequences_of
    from models.datasets import DATASETS

    model = models.load(path, finite=True, **settings)
    with torch.inference_mode():
        windows = model.probe.input_ids[:4]
        windows = windows if len(windows) else torch.ones((2, 3), dtype=torch.int64)
        model(windows)
        model.trace(windows)
    if model.checkpoint["dataset"]["source"] not in DATASETS:
        sequences_of(model)


def numbers_of(path: str | Path) -> bytes:
    """Return the scores of a model, as bytes."""
    import torch

    import models

    with torch.inference_mode():
        return models.load(path)(torch.tensor([[1, 2, 3]])).numpy().tobytes()


def warm(*paths: str | Path) -> None:
    """Import everything, so that children do not, and open good files."""
    import torch

    import spectral  # noqa: F401

    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    for path in paths:
        numbers_of(path)
    gc.collect()
    gc.freeze()


def try_files(reference: Path, files: Iterable[Path]) -> dict[Path, Outcome]:
    """Open each file in a child of its own, in a fresh process."""
    command = [sys.executable, __file__, str(reference), *map(str, files)]
    paths = [str(ROOT), str(ROOT / "tests/helpers")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    return dict(zip(files, (Outcome(**json.loads(line)) for line in done.stdout.splitlines()), strict=True))


def main(reference: str, *files: str) -> None:
    """Open the files and print what happened."""
    warm(reference)
    expected = numbers_of(reference)
    folder = Path(os.path.commonpath([Path(file).parent for file in files]))
    actions = [partial(use, file) for file in files]
    for outcome in attempts(actions, folder, lambda: numbers_of(reference), expected):
        print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main(*sys.argv[1:])
