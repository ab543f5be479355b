"""Does every parameter do something?"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.integrity.examined import Examined, outputs_of, relative_change
from models.integrity.finding import Finding

DEAD_SHARE = 0.5  # of a parameter's entries; less than that is the rule for filters (the imaginary part of DC)
NO_GRADIENT = 1e-13  # of the largest gradient
DRAWS = 3  # random outputs that are differentiated: at the weights as they are, then with noise
ZEROED_WINDOWS = 2


def parameters_alive(examined: Examined) -> Finding:
    """Check that the entries of all parameters have an effect on scores or states.

    A parameter is dead if at least half of its entries never get a gradient, or if nothing changes when it is set to
    zero. This is asked at the trained weights and near them, since a weight can be trained to a place where its
    gradient vanishes. `where` has the names of dead parameters, `value` is their share of dead entries among all.
    Of a table (nn.Embedding) only those rows count that are looked up or scored. A dead bias beside a living weight is
    not reported: softmax or a normalisation cancels it, such as the bias of attention keys.

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
    listed = ", ".join(f"{name} ({dead[name]:.0%})" for name in where[:3])
    meaning = f"of these parameters half the entries or more change no output (share of such entries): {listed}"
    return Finding(False, value, meaning + (f" and {len(where) - 3} more" if where[3:] else ""), where)


def dead_entries(model: Any, examined: Examined, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return which entries of each parameter get no gradient from random combinations of all states and scores.

    Noise is added to the parameters on the way, and stays. Of a table (nn.Embedding) a row of it stands for all its
    rows. Raises ConfigError if there are no gradients.
    """
    generator = torch.Generator().manual_seed(0)
    largest = {name: torch.zeros_like(parameter, dtype=torch.float64) for name, parameter in parameters.items()}
    for draw in range(DRAWS):
        for parameter in parameters.values():
            parameter.requires_grad_()
            if draw:
                _disturb(parameter, generator)
        outputs = [output for output in _outputs(model, examined) if output.requires_grad]
        if not outputs:
            raise ConfigError("the outputs of the model cannot be differentiated")
        total = sum((x * torch.randn(x.shape, generator=generator).to(x)).sum() for x in outputs)
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)  # type: ignore[arg-type]
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                largest[name] = torch.maximum(largest[name], gradient.abs().double())
    limit = NO_GRADIENT * max(float(gradient.max()) for gradient in largest.values())
    tables = _tables(model)
    return {name: (gradient.amax(0) if name in tables else gradient) <= limit for name, gradient in largest.items()}


def without_effect(model: Any, examined: Examined, parameters: dict[str, nn.Parameter]) -> list[str]:
    """Return the names of parameters that are not zero, and whose replacement by zero changes nothing."""

    @torch.no_grad()
    def outputs() -> list[Tensor]:
        return _outputs(model, examined, ZEROED_WINDOWS)

    before, found = outputs(), []
    for name, parameter in parameters.items():
        kept = parameter.detach().clone()
        if not bool(kept.any()):
            continue
        with torch.no_grad():
            parameter.zero_()
            changes = [relative_change(old, new) for old, new in zip(before, outputs(), strict=True)]
            parameter.copy_(kept)
        if all(bool((change <= NO_GRADIENT).all()) for change in changes):
            found.append(name)
    return found


def _disturb(parameter: nn.Parameter, generator: torch.Generator) -> None:
    """Add noise of a tenth of the size of a parameter's entries, or of .1 if they are all 0."""
    size = parameter.detach().abs().square().mean().sqrt()
    noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
    with torch.no_grad():
        parameter.add_(0.1 * (size if size > 0 else 1.0) * noise)


def _outputs(model: Any, examined: Examined, most: int | None = None) -> list[Tensor]:
    """Return states and scores of the windows, with and without padding."""
    batches = (examined.windows[:most], examined.padded[:most])
    return [output for windows in batches for output in outputs_of(model, windows)]


def _tables(model: Any) -> set[str]:
    """Return the names of the parameters that are tables with a row for each id."""
    modules = {name: part for name, part in model.named_modules() if isinstance(part, nn.Embedding)}
    return {f"{name}.weight" if name else "weight" for name in modules}
