"""The data of the page's explorer of single users' attention, small enough to be part of the page.

`explorer.js` reads it. Contents: `explorer_data`.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from spectral.user_maps import UserMaps

STEPS = 2**16 - 1  # weights are rounded to this many steps between the smallest and the largest one of a layer


def explorer_data(found: Mapping[str, Sequence[UserMaps]]) -> list[dict[str, Any]]:
    """Return the maps of some users of each model as an object for JSON.

    The weights of a layer are base64 of codes of two bytes, the low byte first: head by head, row by row, of causal
    maps up to the diagonal. A weight is low + step * code, and at most half a step, 1 / 131,070 of the range, from
    what the model computed.

    Example:
        >>> import torch
        >>> maps = UserMaps(4, ["item 7", "item 2"], 0, {1: torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])})
        >>> explorer_data({"sasrec": [maps]})[0]["users"][0]["layers"][0]["weights"]  # 1, 0, 1
        '//8AAP//'
    """
    return [{"name": name, "users": [_of_user(one) for one in users]} for name, users in found.items()]


def _of_user(maps: UserMaps) -> dict[str, Any]:
    layers = [{"layer": layer, **_encoded(a, maps.causal)} for layer, a in maps.layers.items()]
    return {"user": maps.user, "items": maps.items, "first": maps.first, "causal": maps.causal, "layers": layers}


def _encoded(maps: Tensor, causal: bool) -> dict[str, Any]:
    exact = maps.double().numpy()
    kept = exact[:, *np.tril_indices(exact.shape[-1])] if causal else exact
    low = min(0.0, float(kept.min()))
    step = (float(kept.max()) - low) / STEPS or 1.0  # maps of zeros have no range
    codes = np.rint((kept - low) / step).astype("<u2")
    return {"low": low, "step": step, "weights": base64.b64encode(codes.tobytes()).decode()}
