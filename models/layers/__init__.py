"""What the models are made of, and what makes that fast; no layer knows a model.

`attention`, `frequency` and `feed_forward` are the layers of a block, `add_norm` is the end of each, `dropout` has the
masks of all, `parts` is how they describe themselves; `losses` is what they are trained with. `fused` has the layers'
hand-written derivatives, `packing` the positions that are computed at all, `matmul` the matrix products, `circulant`
sums over delays, `allocator` the memory.
"""
