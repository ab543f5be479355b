"""Models of other people's code: `--adapter FILE.py:FUNCTION` runs a function of the user's that loads one.

The function takes the path of a checkpoint and returns the model with its probe windows, `(model, windows)`, or an
`Adapted`, which can say more. FILE.py runs because the user named it, and only then. `--adapter FILE.py`, without a
function, only runs the file, so that what it registers (`models.register`) is known by name.

Contents: `open_adapted`, which the commands call; `Adapted`, what a function may return; `ForeignModel`, such a model
with our interface.
"""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from models.checkpoint import OF_ADAPTER, Probe, load, versions
from models.errors import CheckpointError, ConfigError, UserError
from models.recommender import Items, Recommender, Trace, not_finite


@dataclass(frozen=True, eq=False)
class Adapted:
    """A model with what the commands need to know about it. `docs/adapters.md` has examples.

    Attributes:
        model: Anything that `spectral.capture` takes: with a method `trace(windows)`; a Hugging Face model; or any
            nn.Module, with `hidden` and `attention`. `models.evaluate` also needs its method `scores(windows)`, which
            returns the score of every item, (B, items + 1), column 0 for padding.
        windows: (P, N) item ids from 1, padded with 0 on the left; or a mapping with `input_ids` and `attention_mask`,
            as tokenizers return it.
        hidden, attention, call, mask: As `spectral.capture` takes them; `call` and `mask` get windows (B, N). Without
            `mask`, the positions with an item are the real ones.
        num_items: The largest item id; None: as many as `scores` has, or the largest one in the windows.
        name: Of the model in tables; None: that of its class.
        promises: What the architecture promises, "causal" and "padding_independent"; see `models.integrity`.
    """

    model: Any
    windows: Any
    hidden: bool | Sequence[str] = True
    attention: bool | Sequence[str] = True
    call: Callable[[Any, Any], Any] | None = None
    mask: Callable[[Any], Tensor] | None = None
    num_items: int | None = None
    name: str | None = None
    promises: tuple[str, ...] = ()


def import_file(file: str | Path) -> ModuleType:
    """Run a Python file, and return its module. Files beside it can be imported by it.

    Raises ConfigError if there is no such file, or if it fails; the message names the line.
    """
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"--adapter {file}: there is no such Python file; give FILE.py or FILE.py:FUNCTION")
    name = f"adapter_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    _run(f"--adapter {file}", path, lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    return module


def open_adapted(adapter: str, checkpoint: str | Path) -> Any:
    """Run an adapter, FILE.py or FILE.py:FUNCTION, and return the `Adapted` or the Recommender of the function.

    Returns None without a function: then the checkpoint is one of this toolkit, or one that it recognises.

    Raises ConfigError if there is no such file or function, if it fails, or if it returns something else.
    """
    file, separator, function = adapter.rpartition(":") if not adapter.endswith(".py") else (adapter, "", "")
    module = import_file(file or adapter)
    if not separator:
        return None
    made = getattr(module, function, None)
    if not callable(made):
        known = [name for name, value in vars(module).items() if _is_own_function(value, module)]
        raise ConfigError(
            f"--adapter {adapter}: {file} has no function {function!r}; it has {', '.join(known) or 'none'}"
        )
    return _checked(_run(f"--adapter {adapter}", Path(file), lambda: made(Path(checkpoint))), adapter)


def load_or_adapt(
    checkpoint: str | Path,
    adapter: str | None = None,
    device: str = "cpu",
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    fallback: Mapping[str, Any] = MappingProxyType({}),
    finite: bool = False,
    foreign: Callable[[Adapted, str], Recommender] | None = None,
) -> Recommender:
    """Return the model of a checkpoint in evaluation mode: through the function of an adapter, or `models.load`.

    settings, fallback and finite: as `models.load` takes them; a function of an adapter takes no settings. foreign:
    what makes our interface of an `Adapted`; None: ForeignModel.

    Raises ConfigError for an adapter that cannot be used, and otherwise what `models.load` does.
    """
    made = None if adapter is None else open_adapted(adapter, checkpoint)
    if made is None:
        return load(checkpoint, device, fallback=fallback, finite=finite, **settings)
    if settings:
        raise ConfigError(f"--adapter {adapter}: its function takes no settings; drop {', '.join(settings)}")
    model = (foreign or ForeignModel)(made, str(adapter)) if isinstance(made, Adapted) else made
    if model.checkpoint is None:
        model.checkpoint = describe(model, str(adapter))
    if finite and (found := not_finite(model.state_dict())):
        raise CheckpointError(f"{checkpoint}: weights are not finite ({found}), so there is nothing to measure")
    return model.to(device).eval()


def describe(model: Recommender, adapter: str) -> dict[str, Any]:
    """Return what the checkpoint of a model that an adapter made says: nothing but where it is from."""
    return {
        "dataset": {
            "name": OF_ADAPTER,
            "source": "",
            "fingerprint": "",
            "num_items": model.config.num_items,
        },
        "training": {"origin": f"adapter {adapter}"},
        "metrics": {},
        "seed": None,
        "versions": versions(),
        "not_finite": not_finite(model.state_dict()),
    }


def _is_own_function(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", "") == module.__name__ and not isinstance(value, type)


def _run(what: str, file: Path, run: Callable[[], Any]) -> Any:
    """Run code of the user's; an error that is not meant for people becomes a ConfigError with its line."""
    try:
        return run()
    except (UserError, OSError):
        raise
    except Exception as error:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).resolve() == file.resolve()
        ]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        place = f"line {line} of {file}" if line else str(file)
        message = str(error).partition("\n")[0]
        raise ConfigError(f"{what}: {place} failed with {type(error).__name__}: {message}") from error


def _checked(returned: Any, adapter: str) -> Adapted | Recommender:
    if isinstance(returned, Recommender):
        if not isinstance(returned.probe, Probe):
            raise ConfigError(f"--adapter {adapter}: the model has no probe windows; return (model, windows)")
        return returned
    if isinstance(returned, tuple) and len(returned) == 2:
        returned = Adapted(*returned)
    if not isinstance(returned, Adapted):
        raise ConfigError(
            f"--adapter {adapter}: the function must return (model, windows) or a models.adapter.Adapted, "
            f"got {type(returned).__name__}"
        )
    if not callable(returned.model):
        raise ConfigError(
            f"--adapter {adapter}: the model must be an nn.Module or another callable, got "
            f"{type(returned.model).__name__}"
        )
    return returned


class ForeignModel(Recommender):
    """A model of other people's code with our interface, as far as it has the abilities.

    What it cannot do raises ConfigError, in a sentence. This class has no hidden states but those of the model's own
    `trace`; `spectral.adapted` captures those of other models.
    """

    def __init__(self, adapted: Adapted, source: str) -> None:
        nn.Module.__init__(self)  # without our item table
        self.inner = adapted.model
        self.adapted = adapted
        self.title = adapted.name or type(adapted.model).__name__  # type: ignore[misc]
        self.name = self.title.lower()  # type: ignore[misc]
        self.promises = adapted.promises  # type: ignore[misc]
        windows = _windows_of(adapted.windows, source)
        self.tokens = isinstance(adapted.windows, Mapping)
        users = torch.arange(1, len(windows) + 1)
        self.probe = Probe(windows, users, users > 0)
        self.config = SimpleNamespace(max_len=windows.shape[1], padding="zero", num_items=self._num_items(windows))
        self.checkpoint = describe(self, source)

    @property
    def items(self) -> nn.Embedding:  # type: ignore[override]
        """The table of item embeddings. Raises ConfigError if the model has no `items`."""
        table = getattr(self.inner, "items", None)
        if not isinstance(table, nn.Embedding):
            raise ConfigError(f"{self.title} has no table of item embeddings, an nn.Embedding called `items`")
        return table

    @property
    def candidates(self) -> Tensor:
        """See Recommender. Raises ConfigError, because only the scores of such a model are known."""
        raise ConfigError(f"{self.title} gives scores, but no table that they are products with")

    def inputs(self, windows: Tensor) -> Any:
        """Return windows (B, N) as the model takes them: as they are, or as ids and mask of a tokenizer."""
        if not self.tokens:
            return windows
        return {"input_ids": (windows - 1).clamp(min=0), "attention_mask": (windows > 0).long()}

    def forward(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """Return the scores of all items, (B, num_items + 1). Raises ConfigError if the model gives none."""
        if not hasattr(self.inner, "scores"):
            raise ConfigError(f"{self.title} has no method scores(windows), so it cannot rank items")
        scores: Tensor = self.inner.scores(self.inputs(self.window(input_ids)))
        if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(input_ids):
            came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ConfigError(f"{self.title}: scores(windows) must be (windows, items + 1), got {came}")
        return nn.functional.pad(scores, (int(self.tokens), 0))  # ids of tokens count from 0, those of items from 1

    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """See Recommender; here the code of a window is its scores, (B, num_items + 1)."""
        return self(input_ids)

    def scores_of(self, code: Tensor, items: Items) -> Tensor:
        """See Recommender."""
        if self.config.num_items >= code.shape[1]:
            raise ConfigError(f"{self.title}: scores(windows) has no column for item {self.config.num_items}")
        return code[:, items].clone() if isinstance(items, slice) else code.gather(1, items)

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Recommender. Raises ConfigError if the model has no method `trace`, or cannot drop its causal mask."""
        if not hasattr(self.inner, "trace"):
            raise ConfigError(
                f"{self.title} has no method trace(windows), so its hidden states are not known here; the commands of "
                "spectral capture them, python -m spectral.integrity among them"
            )
        if not causal:
            raise ConfigError(f"{self.title} cannot be asked to drop its causal mask")
        found = self.inner.trace(input_ids)
        names = ("autocorrelation", "filters")
        attention = getattr(found, "attention", None)
        return Trace(list(found.hidden), attention, found.mask, **{name: getattr(found, name, None) for name in names})

    def layer_functions(self, input_ids: Tensor, causal: bool = True) -> list[Callable[[Tensor], Tensor]]:
        """See Recommender."""
        if causal and hasattr(self.inner, "layer_functions"):
            return list(self.inner.layer_functions(input_ids))
        return super().layer_functions(input_ids, causal)

    def value_output(self) -> list[Tensor]:
        """See Recommender."""
        return list(self.inner.value_output()) if hasattr(self.inner, "value_output") else super().value_output()

    @torch.no_grad()
    def _num_items(self, windows: Tensor) -> int:
        if self.adapted.num_items is not None:
            return self.adapted.num_items
        largest = int(windows.max()) if len(windows) else 0
        if not hasattr(self.inner, "scores") or not len(windows):
            return largest
        self.config = SimpleNamespace(max_len=windows.shape[1], padding="zero", num_items=largest)
        return max(int(self.eval()(windows[:1]).shape[1]) - 1, largest)


def _windows_of(windows: Any, adapter: str) -> Tensor:
    """Return windows (P, N), padded with 0 on the left; of a mapping the ids of its tokens + 1."""
    if isinstance(windows, Mapping):
        return _windows_of_tokens(windows, adapter)
    found = torch.as_tensor(windows)
    if found.ndim != 2 or found.is_floating_point() or found.is_complex() or bool((found < 0).any()):
        raise ConfigError(
            f"--adapter {adapter}: windows must be whole numbers (users, positions) from 0, got {found.dtype} "
            f"{tuple(found.shape)}"
        )
    real = found > 0
    if bool((real[:, :-1] & ~real[:, 1:]).any()):
        raise ConfigError(f"--adapter {adapter}: windows must have their padding (0) on the left; one has it elsewhere")
    return found.long().cpu()


def _windows_of_tokens(batch: Mapping[str, Any], adapter: str) -> Tensor:
    taken = ("input_ids", "attention_mask")
    further = [name for name, value in batch.items() if name not in taken and bool(torch.as_tensor(value).any())]
    if "input_ids" not in batch or further:
        raise ConfigError(
            f"--adapter {adapter}: the windows hold {', '.join(batch) or 'nothing'}; give windows (users, positions) "
            "and `call`, which makes of them what the model takes"
        )
    ids = torch.as_tensor(batch["input_ids"]).long().cpu()
    real = torch.as_tensor(batch.get("attention_mask", torch.ones_like(ids))).bool().cpu()
    order = real.int().argsort(dim=1, stable=True)  # what is real goes to the end, in its order
    return ((ids + 1) * real).gather(1, order)
