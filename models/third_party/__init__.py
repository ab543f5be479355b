"""Checkpoints of other people's code: recognised by keys and shapes, opened with our contract and their numbers.

One module per origin says how its files look, which settings they do not hold, and how its models compute. Where an
architecture is one of ours its tensors go into our model; where it is not, the module has the model itself.
`opening` puts them together, and `models.load` calls that for every file that is not of this toolkit.
"""
