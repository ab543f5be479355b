"""The core of interactions is what peeling leaves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.datasets import interactions


@given(
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60),
    k=st.integers(1, 4),
)
def test_the_core_is_what_peeling_leaves(pairs, k):
    left = list(range(len(pairs)))
    while True:
        bad = [
            i
            for i in left
            if sum(pairs[j][0] == pairs[i][0] for j in left) < k or sum(pairs[j][1] == pairs[i][1] for j in left) < k
        ]
        if not bad:
            break
        left.remove(bad[0])  # one at a time: the core does not depend on the order
    user, item = np.array(pairs).T
    assert np.flatnonzero(interactions.core(user, item, k)).tolist() == left
