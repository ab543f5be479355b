"""A packing holds every real position once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers.packing import all_positions, real_positions


@given(lengths=st.lists(st.integers(0, 12), min_size=1, max_size=30), cached=st.integers(1, 60))
@settings(max_examples=60)
def test_a_packing_of_real_positions_holds_each_of_them_once(lengths, cached):
    length = 12
    ids = torch.arange(1, len(lengths) * length + 1).view(-1, length)
    ids = ids * (torch.arange(length) >= length - torch.tensor(lengths)[:, None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.layers.packing.CACHED_ROWS", cached)
        packing = real_positions(ids)
    computed = [n or length for n in lengths]  # an input that is all padding keeps its positions
    assert len(packing.items) == sum(computed)
    rows = torch.stack([packing.items, packing.positions], dim=1).double()
    torch.testing.assert_close(packing.to_grid(rows)[..., 0], ids.double())
    covered = [index for group in packing.groups for index in range(group.rows.start, group.rows.stop)]
    assert covered == list(range(sum(computed)))
    for group in packing.groups:
        grid = group.to_grid(rows[group.rows])
        assert torch.equal(group.to_rows(grid), rows[group.rows])
        items = grid[..., 0].long()
        real = items > 0
        assert torch.equal(all_positions(items).whole.mask[real.any(1)], group.mask[real.any(1)])
