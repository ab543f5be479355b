"""The layers that models are made of, and the code that makes them fast; no layer depends on a model.

Layers of a block: `attention`, `frequency` and `feed_forward`. Each ends with `add_norm`; `dropout` draws the dropout
masks of all layers, and `parts` describes a layer for diagrams. `remedies` has layers against oversmoothing, and
`choice` reads settings that choose a layer. `losses` has the training losses.

For speed: `fused` has hand-written derivatives of whole layers, and `compiled` the same in C++ (kernels.cpp); `packing`
chooses the positions that are computed, `matmul` the matrix products, `gelu` the parts of its rows, `circulant` sums
over delays, and `allocator` keeps memory for reuse.
"""

NORM_EPS = 1e-12  # of every LayerNorm
