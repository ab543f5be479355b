"""The models, one a file, and the frame of blocks (`encoder`) that most of them share.

`diagram` says which steps a model consists of, for a drawing and to count parameters. An architecture takes windows of
items; it knows no dataset.
"""
