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
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
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
    memory: int = 0  # MiB above those of the parent
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
    memory: int = 1024  # MiB above those of the parent
    address_space: int = 6 * 1024  # MiB above those of the parent


LIMITS = Limits()


def attempt(
    action: Callable[[], object], folder: Path, reference: Callable[[], object], expected: object, limits: Limits
) -> Outcome:
    """Do something in a child process, which may only touch `folder`; then compare `reference()` with `expected`."""
    receiver, sender = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.close(receiver)
        _in_child(sender, action, folder, reference, expected, limits)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        report = pipe.read()
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code or not report:
        return Outcome(code or BUG, seconds=time.monotonic() - started)
    said = json.loads(report)
    memory = (used.ru_maxrss >> 10) - said.pop("resident")
    return Outcome(**said, seconds=time.monotonic() - started, memory=memory)


def _mebibytes() -> tuple[int, int]:
    """Return the address space and the memory of this process; a child has less memory than its parent at first."""
    pages = Path("/proc/self/statm").read_text().split()
    size, resident = (int(count) * resource.getpagesize() >> 20 for count in pages[:2])
    return size, resident


def _in_child(sender: int, action, folder: Path, reference, expected, limits: Limits) -> None:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(limits.seconds)
        size, resident = _mebibytes()
        most = (size + limits.address_space) << 20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        seen = _Watch(folder)
        sys.addaudithook(seen)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code, message = _outcome(action)
            seen.active = False
            poisoned = reference() != expected
        said = {
            "code": code,
            "message": message,
            "executed": seen.executed,
            "written": seen.written,
            "read": seen.read,
            "poisoned": poisoned,
            "resident": resident,
        }
        os.write(sender, json.dumps(said).encode()[:60_000])
        os._exit(0)
    finally:
        os._exit(1)


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
        self.folder, self.active = str(folder), True
        self.allowed = (self.folder, str(ROOT), sys.prefix, sys.base_prefix, "/proc/", "/sys/", "/usr/")
        self.loaded = {name.partition(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
        self.executed: list[str] = []
        self.written: list[str] = []
        self.read: list[str] = []

    def __call__(self, event: str, arguments: tuple) -> None:
        if not self.active:
            return
        if event in RUN or (event == "import" and arguments[0].partition(".")[0] not in self.loaded):
            self.executed.append(f"{event} {str(arguments)[:200]}")
        elif event in CHANGED:
            self.written.append(f"{event} {str(arguments)[:200]}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path, flags = os.fsdecode(arguments[0]), arguments[2]
            if flags & WRITES:
                self.written.append(path)
            elif os.path.isabs(path) and not path.startswith(self.allowed):
                self.read.append(path)


def use(path: str | Path, **settings: object) -> None:
    """Open a file, compute with its model, and look for its data, as commands do."""
    import torch

    import models
    from models.checkpoint import sequences_of

    model = models.load(path, finite=True, **settings)
    with torch.inference_mode():
        windows = model.probe.input_ids[:4]
        windows = windows if len(windows) else torch.ones((2, 3), dtype=torch.int64)
        model(windows)
        model.trace(windows)
    sequences_of(model)


def numbers_of(path: str | Path) -> bytes:
    """Return the scores of a model, as bytes."""
    import torch

    import models

    with torch.inference_mode():
        return models.load(path)(torch.tensor([[1, 2, 3]])).numpy().tobytes()


def warm(*paths: str | Path) -> None:
    """Import everything, so that children do not."""
    import torch

    import spectral  # noqa: F401

    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    for path in paths:
        use(path)
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
    for file in files:
        folder = Path(file).parent
        outcome = attempt(lambda file=file: use(file), folder, lambda: numbers_of(reference), expected, LIMITS)
        print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main(*sys.argv[1:])
