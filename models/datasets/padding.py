"""What stands before a history that is shorter than the window.

`zero` is the padding item, as published. The others continue the history to the left, as numpy.pad does: `cyclic`
repeats it (numpy: wrap), `symmetric` mirrors it with its first item, `reflect` without. Hutter et al. (ECIR 2026,
arXiv 2512.17442) find that padding which is not constant helps models that look at frequencies: a step from padding
to items is a high frequency that no user made.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError

Item = TypeVar("Item", bound=np.integer)
MODES = ("zero", "cyclic", "reflect", "symmetric")


def check_mode(mode: str) -> None:
    """Raise ConfigError if there is no such padding."""
    if mode not in MODES:
        raise ConfigError(f"padding must be one of {', '.join(MODES)}, got {mode!r}")


def fill_padding(windows: NDArray[Item], mode: str) -> NDArray[Item]:
    """Return windows (B, N), padded with 0 on the left, with something else in the place of the padding.

    A window without any item stays as it is. Raises ConfigError for an unknown mode.
    """
    check_mode(mode)
    if mode == "zero":
        return windows
    length = windows.shape[1]
    count = np.count_nonzero(windows, axis=1)[:, None]  # (B, 1) items in each
    place = np.arange(length) - (length - count)  # of each position in the history, negative in the padding
    if mode == "cyclic":
        place %= np.maximum(count, 1)
    else:
        edge = 1 if mode == "symmetric" else 0  # whether the first item is mirrored too
        period = np.maximum(2 * (count - 1 + edge), 1)
        place %= period
        place = np.where(place < count, place, period - edge - place)
    filled = np.take_along_axis(windows, length - count + np.where(count, place, 0) - (count == 0), axis=1)
    return np.where(count > 0, filled, windows)
