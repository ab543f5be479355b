"""Third-party checkpoints: recognised by keys and shapes, opened with our interface and their numbers.

Each origin has a module (`bsarec_repository`, `recbole`, `rechorus`, `pmixer`, `gsasrec`), which describes its files,
the settings that they do not hold, and how its models compute. If the architecture is one of ours, the tensors go into
our model; otherwise the module defines the model, from the `blocks` and the base classes in `model`.

`opening` recognises and opens a file; `models.load` calls it for every file that is not of this toolkit. `file_format`
describes a kind of file, `settings` handles the settings that a file does not hold, `configuration_files` finds them,
and `right_padding` converts between our windows and sequences padded on the right.
"""
