"""Do the layers act, are attention maps averages, and is everything a finite number?"""

from contextlib import suppress
from itertools import pairwise

import torch
from torch import Tensor

from models.errors import ConfigError
from models.integrity.examined import Examined
from models.integrity.finding import Finding
from models.layers.add_norm import ResidualStep
from models.recommender import not_finite

IDENTITY_DB = 0.1  # a layer whose gain is within this of 0 dB at every frequency does nothing
PROBES = 8  # random outputs that are backpropagated
ROW_SUM_TOLERANCE = 1e-5


def layers_act(examined: Examined) -> Finding:
    """Check that no layer is an identity within .1 dB, its residual connection included.

    Measured is what mixes positions, with its residual connection, before its LayerNorm: the gain of its derivative at
    the windows, at each frequency, and the part of it that stays at its frequency. `value` is the largest deviation
    from 0 dB at any frequency, in the layer where it is smallest. Of a model that does not take its residual
    connections apart (`residual_steps`), it is by how much the hidden states change from layer to layer.
    `where` has the layers that do nothing, from 1.
    """
    try:
        deviations = _of_mixing(examined)
    except ConfigError:
        deviations = [_of_states(x, y) for x, y in _pairs(examined)]
    if not deviations:
        raise ConfigError("the model has no layers")
    where = [layer for layer, deviation in enumerate(deviations, start=1) if deviation < IDENTITY_DB]
    value = min(deviations)
    if value == float("inf"):
        return Finding(True, None, "every layer gives states of another size than it takes")
    if not where:
        return Finding(True, value, f"every layer changes its input by {value:.2g} dB or more")
    layers = ", ".join(map(str, where))
    return Finding(False, value, f"identity within {IDENTITY_DB} dB, residual included: layer {layers}", where)


def rows_stochastic(examined: Examined) -> Finding:
    """Check that rows of attention are averages: not negative, with sum 1. `where` has pairs [layer, head], from 1.

    Raises ConfigError if the model has no attention.
    """
    with torch.no_grad():
        trace = examined.model.trace(examined.windows)
    if not trace.attention:
        raise ConfigError("the model has no attention")
    errors = {
        (layer, head): float(torch.maximum((rows.sum(-1) - 1).abs(), -rows.amin(-1)).max())
        for layer, maps in enumerate(trace.attention, start=1)
        for head, rows in enumerate(maps.unbind(1), start=1)
    }
    value = max(errors.values())
    where = [list(place) for place, error in errors.items() if error > ROW_SUM_TOLERANCE]
    if not where:
        return Finding(True, value, "rows of attention are not negative and sum to 1")
    return Finding(False, value, f"rows of attention miss the sum 1, or 0 from below, by up to {value:.2g}", where)


def finite(examined: Examined) -> Finding:
    """Check that weights, states and scores are finite, in the model's own precision. `where` has what is not."""
    state = {name: value for name, value in examined.given.state_dict().items() if isinstance(value, Tensor)}
    where = [name for name, value in state.items() if not_finite({name: value})]
    if not where:
        with torch.no_grad():
            with suppress(ConfigError):  # a model that does not give its states
                hidden = examined.given.trace(examined.windows).hidden
                where = [f"layer {layer}" for layer, x in enumerate(hidden) if not bool(x.isfinite().all())]
            with suppress(ConfigError):  # a model without scores
                where += [] if bool(examined.given(examined.windows).isfinite().all()) else ["scores"]
    if not where:
        return Finding(True, 0.0, "weights, states and scores are finite")
    return Finding(False, float(len(where)), "NaN or infinity in weights, states or scores", where)


def _of_mixing(examined: Examined) -> list[float]:
    """Return the largest deviation of each layer's mixing from doing nothing, in dB.

    Raises ConfigError if the model does not take its residual connections apart.
    """
    if not hasattr(examined.model, "residual_steps"):
        raise ConfigError("the model does not take its residual connections apart")
    with torch.enable_grad():
        examined.model.requires_grad_()  # then the states of every layer but the first have gradients, and may get them
        layers = list(examined.model.residual_steps(examined.windows))
    return [max(map(_deviation, mixing)) for *mixing, _ in layers]


def _deviation(step: ResidualStep) -> float:
    """Return the largest |gain| in dB over frequencies, of a residual connection before its LayerNorm.

    Random combinations of its outputs are backpropagated to its input; of the gradients, the power at each frequency is
    compared with that of the outputs, and how much of the one is along the other. An identity has 0 dB in both.
    """
    generator = torch.Generator().manual_seed(0)
    power = torch.zeros(3, step.x.shape[1] // 2 + 1, dtype=torch.float64)
    for _ in range(PROBES):
        signs = (2.0 * torch.randint(2, step.x.shape, generator=generator) - 1).to(step.x)
        (gradient,) = torch.autograd.grad(step.total, step.x, signs, retain_graph=True)
        acting, resting = (torch.fft.rfft(part, dim=1) for part in (gradient, signs))
        both = (acting * resting.conj()).real
        power += torch.stack([part.sum((0, 2)).cpu() for part in (acting.abs() ** 2, both, resting.abs() ** 2)])
    gain = 10 * (power[0] / power[2]).log10()
    kept = 20 * (power[1].clamp(min=0) / power[2]).log10()
    return float(torch.stack([gain, kept]).abs().max())


def _pairs(examined: Examined) -> list[tuple[Tensor, Tensor]]:
    """Return input and output of each layer."""
    return list(pairwise(examined.states(examined.windows)))


def _of_states(x: Tensor, y: Tensor) -> float:
    """Return by how many dB y is away from x at most: 20 log10(1 + ||y - x|| / ||x||); infinity for another size."""
    if x.shape != y.shape:
        return float("inf")
    return float(20 * (1 + (y - x).norm() / x.norm()).log10())
