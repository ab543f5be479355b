"""Does every parameter do something?"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.integrity.examined import Examined, outputs_of, relative_change
from models.integrity.finding import Finding

DEAD_SHARE = 0.5  # of a parameter's entries; less than that is the rule for filters (the imaginary part of DC)
NO_GRADIENT = 1e-13  # of the largest gradient
# Noise that is added to the parameters, as a share of their size. At first none, because the trained weights are what
# is asked about; the last weights are others altogether, in which a ReLU that never fires may do so.
NOISE = (0.0, 0.1, 0.1, *(1.0,) * 8)
ZEROED_WINDOWS = 2
NAMED = 3  # the sentence names at most this many parameters


def parameters_alive(examined: Examined) -> Finding:
    """Check that the entries of all parameters have an effect on scores or states.

    A parameter is dead if at least half of its entries never get a gradient, or if nothing changes when it is set to
    zero: at the trained weights, near them, and at other weights of their size. So a weight that training brought to a
    place where its gradient vanishes, or that is behind a ReLU that does not fire for these windows, is not dead; one
    that the forward pass does not use is. `where` has the names of dead parameters, `value` is their share of dead
    entries among all. Of a table (nn.Embedding) only those rows count that are looked up or scored. A dead bias beside
    a living weight is not reported: softmax or a normalisation cancels it, such as the bias of attention keys. If the
    architecture says why the published model has such parameters (`idle`), the reason is part of `meaning`.

    Raises ConfigError if the model has no parameters, or its outputs cannot be differentiated.
    """
    model = copy.deepcopy(examined.model)
    parameters = {name: p for name, p in model.named_parameters() if p.is_floating_point() or p.is_complex()}
    if not parameters:
        raise ConfigError("the model has no parameters")
    unused = dead_entries(model, examined, parameters)
    dead = {name: float(entries.double().mean()) for name, entries in unused.items()}
    for name in without_effect(model, examined, {n: parameters[n] for n, share in dead.items() if share < DEAD_SHARE}):
        dead[name], unused[name] = 1.0, torch.ones_like(unused[name])
    living = {name for name, share in dead.items() if share < DEAD_SHARE}
    where = [name for name in dead if name not in living and name.replace("bias", "weight") not in living]
    value = sum(int(unused[name].sum()) for name in where) / sum(entries.numel() for entries in unused.values())
    if not where:
        return Finding(True, value, "every parameter has an effect")
    return Finding(False, value, _meaning({name: dead[name] for name in where}, getattr(model, "idle", ())), where)


def dead_entries(model: Any, examined: Examined, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return which entries of each parameter get no gradient from random combinations of all states and scores.

    Noise is added to the parameters on the way, as long as one of them seems dead, and stays. Of a table (nn.Embedding)
    a row of it stands for all its rows. Raises ConfigError if there are no gradients.
    """
    generator = torch.Generator().manual_seed(0)
    largest = {name: torch.zeros_like(parameter, dtype=torch.float64) for name, parameter in parameters.items()}
    tables = _tables(model)
    dead: dict[str, Tensor] = {}
    for noise in NOISE:
        _disturb(parameters, noise, generator)
        for name, gradient in _gradients(model, examined, parameters, generator).items():
            largest[name] = torch.maximum(largest[name], gradient.abs().double())
        limit = NO_GRADIENT * max(float(gradient.max()) for gradient in largest.values())
        dead = {n: (gradient.amax(0) if n in tables else gradient) <= limit for n, gradient in largest.items()}
        if all(entries.double().mean() < DEAD_SHARE for entries in dead.values()):
            break
    return dead


def without_effect(model: Any, examined: Examined, parameters: dict[str, nn.Parameter]) -> list[str]:
    """Return the names of parameters that are not zero, and whose replacement by zero changes nothing.

    Noise is added to the parameters on the way, as long as there is such a one, and stays.
    """
    generator = torch.Generator().manual_seed(0)
    found = {name: parameter for name, parameter in parameters.items() if bool(parameter.any())}
    for noise in NOISE:
        _disturb(parameters, noise, generator)
        before = _few_outputs(model, examined)
        found = {name: each for name, each in found.items() if not _acts(model, examined, each, before)}
        if not found:
            break
    return list(found)


@torch.no_grad()
def _acts(model: Any, examined: Examined, parameter: nn.Parameter, before: list[Tensor]) -> bool:
    """Return whether an output is another one than before while a parameter is set to zero."""
    kept = parameter.detach().clone()
    parameter.zero_()
    changes = [relative_change(old, new) for old, new in zip(before, _few_outputs(model, examined), strict=True)]
    parameter.copy_(kept)
    return not all(bool((change <= NO_GRADIENT).all()) for change in changes)  # NaN, of a norm divided by, is a change


@torch.no_grad()
def _few_outputs(model: Any, examined: Examined) -> list[Tensor]:
    return _outputs(model, examined, ZEROED_WINDOWS)


def _gradients(
    model: Any, examined: Examined, parameters: dict[str, nn.Parameter], generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the gradients of a random combination of all states and scores, of those parameters that get one."""
    for parameter in parameters.values():
        parameter.requires_grad_()
    outputs = [output for output in _outputs(model, examined) if output.requires_grad]
    if not outputs:
        raise ConfigError("the outputs of the model cannot be differentiated")
    total = sum((x * torch.randn(x.shape, generator=generator).to(x)).sum() for x in outputs)
    gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)  # type: ignore[arg-type]
    return {name: gradient for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}


def _meaning(dead: dict[str, float], idle: Iterable[tuple[str, str]]) -> str:
    """Return the finding in a sentence; dead: share of dead entries by name, idle: ends of names, with a reason."""
    names = list(dead)
    listed = ", ".join(f"{name} ({dead[name]:.0%})" for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if names[NAMED:] else ""
    why = dict.fromkeys(reason for end, reason in idle if any(name.endswith(end) for name in names))
    published = f"; as published: {'; '.join(why)}" if why else ""
    return (
        "of these parameters half the entries or more change no output (share of such entries): "
        f"{listed}{more}{published}"
    )


def _disturb(parameters: dict[str, nn.Parameter], share: float, generator: torch.Generator) -> None:
    """Add noise of a share of the size of each parameter's entries, and keep their size; of zeros the size is 1."""
    for parameter in parameters.values() if share else ():
        size = parameter.detach().abs().square().mean().sqrt()
        noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
        with torch.no_grad():
            parameter.add_(share * (size if size > 0 else 1.0) * noise).div_((1 + share**2) ** 0.5)


def _outputs(model: Any, examined: Examined, most: int | None = None) -> list[Tensor]:
    """Return states and scores of the windows, with and without padding."""
    batches = (examined.windows[:most], examined.padded[:most])
    return [output for windows in batches for output in outputs_of(model, windows)]


def _tables(model: Any) -> set[str]:
    """Return the names of the parameters that are tables with a row for each id."""
    modules = {name: part for name, part in model.named_modules() if isinstance(part, nn.Embedding)}
    return {f"{name}.weight" if name else "weight" for name in modules}
