"""Self-attention with merged projections against separate ones."""

import pytest
import torch

from models.layers.attention import SelfAttention
from models.layers.dropout import MaskSource
from models.layers.packing import all_positions, real_positions
from models.layers.remedies import Remedy

CPU = torch.device("cpu")


@pytest.mark.parametrize("packing", [all_positions, real_positions])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("remedy", ["none", "residual_scale:fixed=0.3"])
def test_merged_projections_compute_what_separate_ones_do(packing, training, remedy):
    torch.manual_seed(0)
    made = packing(torch.tensor([[0, 0, 3, 4], [1, 2, 3, 4], [0, 0, 0, 0]]))
    layer = SelfAttention(4, 1, 0.3, MaskSource(), Remedy.parse(remedy)).double().train(training)
    x = torch.randn(*made.items.shape, 4, dtype=torch.float64)
    layer.add_norm.dropout.source.seed(1)
    merged, merged_attention = layer(x, made)
    layer.add_norm.dropout.source.seed(1)  # the same masks are drawn in the same order
    masks = layer.attention_dropout.masks([layer._shape(group) for group in made.groups], CPU)
    context, attention = layer._attend(layer.qkv(x).flatten(end_dim=-2), made.groups, masks)
    torch.testing.assert_close(merged, layer.add_norm(layer.output(context).view(x.shape), x))
    torch.testing.assert_close(merged_attention, attention)
