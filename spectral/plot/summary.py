"""What the summary of a run holds, side by side."""

from matplotlib.figure import Figure

from spectral.plot.cosine_similarity import cosine_similarity_kinds
from spectral.plot.figure import HEIGHT, grid
from spectral.plot.frequency_response import frequency_response
from spectral.plot.singular_values import singular_values
from spectral.summary import SpectralSummary


def summary(result: SpectralSummary) -> Figure:
    """Draw the singular values of users and their similarities, and the gain of attention of a model that has it.

    Example:
        >>> import torch
        >>> from models.registry import build, configure
        >>> from spectral.summary import summarise
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
        >>> held = summarise(model, torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]), {"model": "sasrec"})
        >>> [ax.get_xlabel() for ax in summary(held).axes]
        ['index of the singular value', 'layer', 'angular frequency (rad/position)']
    """
    has_attention = len(result.power) > 0
    figure, [axes] = grid([HEIGHT], 2 + has_attention)
    singular_values(result.spectra().layers, ax=axes[0])
    cosine_similarity_kinds(result.about["model"], result.similarity(), ax=axes[1])
    if has_attention:
        frequency_response(result.response(), ax=axes[2])
    return figure
