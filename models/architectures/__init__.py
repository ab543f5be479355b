"""The models, one per file, and the stack of blocks (`encoder`) that most of them share.

`diagram` lists the steps of a model, for drawing it and for counting its parameters. Architectures work on windows of
items and do not depend on a dataset.
"""
