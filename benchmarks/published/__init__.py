"""The published training loop, written plainly: the reference for speed and for gradients.

A straightforward implementation of the equations and conventions of the eight models that BSARec's authors publish
(Shin et al., AAAI 2024), as a researcher would first write them: a DataLoader that hands over one sample at a time,
two FFTs in each frequency layer, every layer at every position, `nn.Dropout`, and PyTorch's own layers and losses. It
shares no code with `models`; parameter names do agree where layers do, so that weights can be copied over.
"""

from benchmarks.published.loop import PrefixDataset, PublishedLoop
from benchmarks.published.recommenders import LOSSES, PublishedModel, published_model

__all__ = ["LOSSES", "PrefixDataset", "PublishedLoop", "PublishedModel", "published_model"]
