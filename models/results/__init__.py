"""The results of finished runs, and tables made of them.

`runs` reads and writes results. `comparison`, `cost` and `sensitivity` compute tables from them, and `tables` formats
the tables. `profile` knows the systems of the workflow, and `remaining` the runs that it has not finished.
"""
