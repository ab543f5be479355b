"""TV-Rec against the published form of its filter: eigenvectors of the shift on a directed ring."""

import pytest
import torch
from plain_models import WINDOWS, D, N, assert_hidden, feed_forward, norm, random_model, weights
from torch import Tensor

from models.architectures.tvrec import TVRec, TVRecConfig
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.losses import LOSSES
from models.recommender import Recommender

ORDER, FILTERS = 7, 3


def filter_matrix(w: dict[str, Tensor], name: str, length: int) -> Tensor:
    """Re(V ((C B Lambda^T) * V) V^-1), cut to the window."""
    basis, coefficients = torch.view_as_complex(w[f"{name}.basis"]), w[f"{name}.coefficients"]
    nodes, taps = len(coefficients), basis.shape[1]
    shift = torch.zeros(nodes, nodes, dtype=torch.float64)
    for node in range(nodes):
        shift[node, node - 1] = 1  # row 0 takes the last node
    eigenvalues, vectors = torch.linalg.eig(shift)
    powers = torch.stack([eigenvalues**k for k in range(taps)], dim=1)
    normed = basis / torch.stack([row.abs().square().sum().sqrt() for row in basis])[:, None]
    response = vectors * (coefficients.to(normed.dtype) @ normed @ powers.T)
    return (response @ torch.linalg.inv(vectors)).real[:length, :length]


def tvrec_reference(model: Recommender, ids: Tensor) -> list[Tensor]:
    w = weights(model)
    hidden = [norm(w["items.weight"][ids], w, "norm")]
    for layer in range(model.config.num_layers):
        name = f"blocks.{layer}"
        x = hidden[-1].clone()
        x[ids == 0] = 0
        mixed = filter_matrix(w, f"{name}.mixer", ids.shape[1]) @ x
        hidden.append(feed_forward(norm(mixed + x, w, f"{name}.mixer.add_norm.norm"), w, name))
    return hidden


def test_tvrec_filters_as_published():
    model = random_model("tvrec", order=ORDER, filters=FILTERS)
    trace = model.trace(WINDOWS)
    assert_hidden(trace.hidden, tvrec_reference(model, WINDOWS))
    assert trace.attention is None
    assert model.blocks[0].mixer.coefficients.shape == (N + ORDER - 1, FILTERS)


@pytest.mark.parametrize("length, order", [(50, 50), (11, 3), (4, 20)])
def test_one_entry_of_the_filter_is_not_causal(length, order):
    model = random_model("tvrec", max_len=length, order=order)
    for block in model.blocks:
        ahead = block.mixer.matrix.detach().triu(1).nonzero().tolist()
        assert ahead == [[0, length - 1]]


def test_padding_is_inert_and_positions_are_not():
    model = random_model("tvrec", order=ORDER)
    ids = WINDOWS[2:3]
    before = model(ids)
    with torch.no_grad():
        model.items.weight[0] += torch.randn(D)
    torch.testing.assert_close(model(ids)[:, 1:], before[:, 1:])
    moved = ids.roll(-1, dims=1)  # the same items, one position earlier
    ours, theirs = model.trace(ids).hidden[1], model.trace(moved).hidden[1]
    assert not torch.allclose(ours[:, -4:], theirs[:, -5:-1])


def test_the_objective_adds_the_overlap_of_the_basis_filters():
    model = random_model("tvrec", order=ORDER, filters=FILTERS, dropout=0.0, orthogonality=0.3)
    batch = Batch(WINDOWS, torch.tensor([1, 2, 3, 4]), torch.arange(4), torch.tensor([5, 6, 7, 8]), None)
    for loss in ("ce", "bce"):
        output = model.encode(WINDOWS)
        expected = LOSSES[loss].function(output, model.items.weight, batch.targets, batch.negatives)
        for block in model.blocks:
            for part in block.mixer.basis.detach().unbind(-1):
                for i, one in enumerate(part):
                    for j, other in enumerate(part):
                        cosine = one @ other / (one.norm() * other.norm())
                        expected = expected + 0.3 * (cosine - float(i == j)) ** 2
        torch.testing.assert_close(model.objective(batch, LOSSES[loss]), expected)


def test_filters_are_drawn_small_and_there_are_no_positions():
    model = TVRec(TVRecConfig(3646, filters=8))
    model.initialise(0)
    assert model.blocks[0].mixer.coefficients.std().item() == pytest.approx(1e-3, rel=0.2)
    assert model.blocks[1].mixer.basis.std().item() == pytest.approx(1e-3, rel=0.2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 303_440  # the published log's number


@pytest.mark.parametrize("wrong", [{"filters": 0}, {"order": 0}, {"orthogonality": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TVRecConfig(30, **wrong)
