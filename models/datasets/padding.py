"""How a history that is shorter than the window is padded.

`zero` uses the padding item 0, as published. The other modes continue the history to the left as numpy.pad does:
`cyclic` repeats it (numpy: wrap), `symmetric` mirrors it including its first item, `reflect` mirrors it without the
first item. Hutter et al. (ECIR 2026, arXiv 2512.17442) find that padding which is not constant helps models that work
on frequencies: the step from constant padding to items is a high frequency that no user caused.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.choices import PADDINGS
from models.errors import ConfigError, did_you_mean

Item = TypeVar("Item", bound=np.integer)


def check_mode(mode: str) -> None:
    """Raise ConfigError unless the mode is one of `PADDINGS`."""
    if mode not in PADDINGS:
        raise ConfigError(f"padding must be one of {', '.join(PADDINGS)}, got {mode!r}{did_you_mean(mode, PADDINGS)}")


def fill_padding(windows: NDArray[Item], mode: str) -> NDArray[Item]:
    """Return windows (B, N) that are padded with 0 on the left, padded in another mode.

    A window without any item stays as it is. Raises ConfigError for an unknown mode.

    >>> windows = np.array([[0, 0, 0, 0, 1, 2, 3]])
    >>> for mode in ("cyclic", "symmetric", "reflect"):
    ...     print(mode, fill_padding(windows, mode)[0].tolist())
    cyclic [3, 1, 2, 3, 1, 2, 3]
    symmetric [3, 3, 2, 1, 1, 2, 3]
    reflect [1, 2, 3, 2, 1, 2, 3]
    """
    check_mode(mode)
    if mode == "zero":
        return windows
    length = windows.shape[1]
    count = np.count_nonzero(windows, axis=1)[:, None]  # (B, 1) number of items
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
