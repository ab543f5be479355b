"""The contrastive term that DuoRec and FEARec add to their loss."""

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return how hard it is to find each row's partner among the rows of both views: InfoNCE, the mean over 2 B rows.

    first, second: (B, D), row i of one is the partner of row i of the other. Rows are compared by dot products over
    `temperature`; the other 2 (B - 1) rows are the negatives, also those that happen to have the same target.

    Source: Qiu et al., *Contrastive Learning for Representation Degeneration Problem in Sequential Recommendation*,
    WSDM 2022, equation 8.
    """
    rows, batch = torch.cat([first, second]), len(first)
    similarity = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * batch, device=rows.device).roll(batch)
    return functional.cross_entropy(similarity, partner)
