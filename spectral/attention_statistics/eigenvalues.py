"""The few eigenvalues and singular values of many attention maps that their statistics need.

Small matrices are decomposed completely, in batches. For large ones Arnoldi's method finds only the values that are
needed. Where a way fails another is taken, see `spectral.decompositions`. All ways are exact to about 1e-9.
"""

import torch
from torch import Tensor

from spectral.decompositions import LARGE, eigenvalues_of, largest_moduli, singular_values_of
from spectral.theorem1.spectrum import left_perron_vector


def second_moduli(maps: Tensor) -> Tensor:
    """Return |lambda_2|, shape (...), of row-stochastic float64 maps (..., N, N).

    The eigenvalues of a lower triangular map are its diagonal entries, and the first of them is 1.

    Example:
        The eigenvalues are 1 and 3/4 - 1/4:

        >>> second_moduli(torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64)).round(decimals=6).item()
        0.5
    """
    n = maps.shape[-1]
    if not bool(maps.triu(1).any()):
        return maps.diagonal(dim1=-2, dim2=-1)[..., 1:].amax(-1)
    if n < LARGE:
        return eigenvalues_of(maps).abs().sort(-1).values[..., -2]
    found = [largest_moduli(a, 2)[1] for a in maps.reshape(-1, n, n).numpy()]
    return torch.tensor(found, dtype=torch.float64).reshape(maps.shape[:-2])


def hfc_factors(maps: Tensor) -> Tensor:
    """Return ||P A P||_2, shape (...), of float64 maps (..., N, N): the largest factor for what is not DC.

    It is the square root of the largest eigenvalue of the symmetric matrix (P A P)^T P A P.

    Example:
        >>> maps = torch.stack([torch.full((4, 4), 1 / 4), torch.eye(4)]).double()
        >>> hfc_factors(maps).round(decimals=6).tolist()
        [0.0, 1.0]
    """
    centered = maps - maps.mean(-2, keepdim=True)
    centered = centered - centered.mean(-1, keepdim=True)
    n = maps.shape[-1]
    if n < LARGE:
        return singular_values_of(centered)[..., 0]
    squares = (centered.mT @ centered).reshape(-1, n, n)
    largest = [largest_moduli(square, 1)[0] for square in squares.numpy()]
    return torch.tensor(largest, dtype=torch.float64).clamp(min=0).sqrt().reshape(maps.shape[:-2])


def left_perron_vectors(maps: Tensor) -> Tensor:
    """Return pi (..., N) with pi^T A = pi^T and sum 1, for row-stochastic float64 maps (..., N, N).

    A map that falls into parts which do not see each other has several such vectors; pi is the one of least norm.

    Example:
        A chain that stays in the first state with 1/2 and in the second with 3/4 is in the second one twice as often:

        >>> left_perron_vectors(torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64)).numpy().round(3)
        array([0.333, 0.667])
    """
    n = maps.shape[-1]
    if not bool(maps.triu(1).any()):
        return torch.eye(n, dtype=torch.float64)[0].expand(maps.shape[:-1])
    equations = maps.mT - torch.eye(n, dtype=torch.float64)
    equations[..., -1, :] = 1  # one of the n equations pi^T A = pi^T is redundant, so the sum takes its place
    solution, info = torch.linalg.solve_ex(equations, torch.eye(n, dtype=torch.float64)[-1].expand(maps.shape[:-1]))
    wrong = (solution[..., None, :] @ maps - solution[..., None, :]).abs().amax((-2, -1)) > 1e-9
    solution[wrong | (info != 0) | ~solution.isfinite().all(-1)] = torch.nan
    flat, rows = maps.reshape(-1, n, n), solution.reshape(-1, n)
    for index in rows.isnan().any(-1).nonzero()[:, 0].tolist():
        rows[index] = torch.from_numpy(left_perron_vector(flat[index].numpy()))
    return rows.reshape(maps.shape[:-1])
