"""What do the scores follow: the order of the history, its last item, or how popular items are?"""

import torch
from torch import Tensor

from models.errors import ConfigError
from models.integrity.examined import Examined, relative_change
from models.integrity.finding import Finding


def order_sensitive(examined: Examined) -> Finding:
    """Check that shuffling the history changes the ranking of the items. `value` is the share of users with a change.

    `where` has no entries.
    """
    windows = examined.windows if examined.histories is None else examined.histories
    windows = windows[[len(window[window > 0].unique()) > 1 for window in windows]]
    if not len(windows):
        raise ConfigError("no history has two items to shuffle")
    before, after = examined.ranking(windows), examined.ranking(shuffled(windows))
    moved = (before.argsort(stable=True) != after.argsort(stable=True)).any(-1)
    value = float((moved & (relative_change(before, after) > examined.tolerance)).double().mean())
    if value:
        return Finding(True, value, f"shuffling the history changes the ranking for {value:.0%} of the users")
    return Finding(False, value, "shuffling the history changes no ranking")


def shuffled(windows: Tensor) -> Tensor:
    """Return windows (B, N) with the real items of each in another order, at the same places.

    >>> windows = torch.tensor([[0, 0, 3, 1], [0, 5, 6, 7]])
    >>> shuffled(windows).sort().values.tolist(), torch.equal(shuffled(windows) > 0, windows > 0)
    ([[0, 0, 1, 3], [0, 5, 6, 7]], True)
    """
    generator = torch.Generator().manual_seed(0)
    result = windows.clone()
    for row, window in enumerate(windows):
        places = (window > 0).nonzero()[:, 0]
        order = torch.randperm(len(places), generator=generator).to(places.device)
        if torch.equal(window[places], window[places[order]]):
            order = order.flip(0)
        result[row, places] = window[places[order]]
    return result


def popularity(examined: Examined) -> Finding:
    """Return how much of the scores is explained by how often items occur.

    `value` is the mean over users of the squared rank correlation between scores and frequencies of all items. Raises
    ConfigError if users or frequencies are not known.
    """
    if examined.histories is None or examined.frequency is None:
        raise ConfigError("how often items occur is not known without data")
    scores = examined.scores(examined.histories)[:, 1:]
    correlation = _correlation(_ranks(scores), _ranks(examined.frequency[None, 1 : 1 + scores.shape[1]].to(scores)))
    value = float(correlation.square().mean())
    return Finding(None, value, f"{value:.0%} of the ranks of items follow from how often they occur")


def last_item(examined: Examined) -> Finding:
    """Return how much of what is special about a user's scores is explained by the last item alone.

    `value` is the squared correlation, over users and items, between scores with the whole history and with its last
    item only; both without their mean over users. Raises ConfigError if no user has two items.
    """
    windows = examined.windows if examined.histories is None else examined.histories
    windows = windows[(windows > 0).sum(1) > 1]
    if len(windows) < 2:
        raise ConfigError("fewer than two users have two items")
    alone = torch.zeros_like(windows)
    alone[:, -1] = windows[:, -1]
    whole, last = (_special(examined.scores(x)[:, 1:], examined.tolerance) for x in (windows, alone))
    value = float(_correlation(whole.flatten()[None], last.flatten()[None]).square())
    return Finding(None, value, f"{value:.0%} of what differs between users' scores follows from their last item")


def _special(scores: Tensor, rounding: float) -> Tensor:
    """Return scores (B, I) without their mean over users; 0 if only rounding is left."""
    scores = scores.double()
    centered = scores - scores.mean(0)
    return centered * (centered.abs().max() > rounding * scores.abs().max())


def _ranks(values: Tensor) -> Tensor:
    """Return the ranks of (B, I) within each row; equal values share the mean of their ranks."""
    from scipy.stats import rankdata  # slow to import

    return torch.from_numpy(rankdata(values.cpu().numpy(), axis=-1))


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlation of each row of (B, n) with b, (B, n) or (1, n); 0 if one of them is constant."""
    a, b = (x - x.mean(-1, keepdim=True) for x in (a, b))
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    return torch.where(norms > 0, (a * b).sum(-1) / norms.clamp(min=torch.finfo(a.dtype).tiny), 0.0)
