"""What finished runs leave, and the tables made of it.

`runs` are the results themselves; `comparison`, `cost` and `sensitivity` are made of them, and printed by `tables`;
`profile` names the systems of the workflow, and is light to import.
"""
