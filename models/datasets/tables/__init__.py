"""Tables of interactions as people have them, read into columns for users, items and times.

`files` opens what is compressed, encoded or in parts; `text`, `json_lines` and `parquet` are the formats; `columns` is
what all of them give, with lists taken apart; `times` finds the order. `models.datasets.importing` puts it together.
"""
