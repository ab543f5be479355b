"""Captions of figures: sentences that the data choose, each of which could come out otherwise.

Contents: what is drawn (`drawn`: `bands` and `null_models`), what is seen over seeds (`of_gains`, `of_spectra`,
`of_similarities`, `of_betas`), and in single models and other things (`of_responses`, `of_transfer`, `of_blocks`,
`of_layer_spectra`, `of_layer_similarities`, `of_filters`, `of_integrity`, `of_decay`, `of_datasets`).
"""

from spectral.gallery.captions.legend import ONE_MODEL, bands, drawn, each, null_models
from spectral.gallery.captions.over_seeds import of_betas, of_gains, of_similarities, of_spectra
from spectral.gallery.captions.single import (
    of_blocks,
    of_datasets,
    of_decay,
    of_filters,
    of_integrity,
    of_layer_similarities,
    of_layer_spectra,
    of_responses,
    of_transfer,
)

__all__ = [
    "ONE_MODEL",
    "bands",
    "drawn",
    "each",
    "null_models",
    "of_betas",
    "of_blocks",
    "of_datasets",
    "of_decay",
    "of_filters",
    "of_gains",
    "of_integrity",
    "of_layer_similarities",
    "of_layer_spectra",
    "of_responses",
    "of_similarities",
    "of_spectra",
    "of_transfer",
]
