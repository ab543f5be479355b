"""Third-party checkpoints: recognised by keys and shapes, opened with our contract and their numbers.

One module per origin (`bsarec_repository`, `recbole`, `rechorus`, `pmixer`, `gsasrec`) says how its files look, which
settings they do not hold, and how its models compute. Where an architecture is one of ours its tensors go into our
model; where it is not, the module has the model itself, made of `blocks` on the frame of `model`.

`opening` puts them together, and `models.load` calls that for every file that is not of this toolkit. `file_format` is
how a kind of file looks, `settings` what it must be told, `configuration_files` where that is found, `right_padding`
the way between our windows and sequences padded on the right.
"""
