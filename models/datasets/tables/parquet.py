"""Tables in Parquet, whole or in parts, with one row an interaction or lists of items."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset, parquet

from models.datasets.tables.columns import Columns, Wanted, no_column, place_in
from models.errors import DataError

ENDINGS = (".parquet", ".pq")


def read_parquet(paths: Sequence[Path], folder: Path, wanted: Wanted) -> Columns:
    """Return columns of the parts of a table, as arrays of their types; a missing number (NaN) is a missing value.

    folder: the folder of the parts. Names of folders in it like `day=7` are columns too, as text.

    Raises:
        DataError: If a file is damaged, the parts differ in the types of a column, or a column is not there.
    """
    keys = dict.fromkeys(
        name.partition("=")[0] for path in paths for name in path.relative_to(folder).parts[:-1] if "=" in name
    )
    try:
        schema = pa.unify_schemas([parquet.read_schema(path) for path in paths], promote_options="permissive")
        partitioning = dataset.partitioning(pa.schema([(key, pa.string()) for key in keys]), flavor="hive")
        whole = dataset.dataset(
            [str(path) for path in paths],
            format="parquet",
            schema=pa.schema([*schema, *(field for field in partitioning.schema if field.name not in schema.names)]),
            partitioning=partitioning if keys else None,
            partition_base_dir=str(folder),
        )
        for name in wanted.names:
            if name not in whole.schema.names:
                raise no_column(folder if len(paths) > 1 else paths[0], name, whole.schema.names)
        table = whole.to_table(columns=wanted.names)
        counts = [parquet.read_metadata(path).num_rows for path in paths]
        values = [_checked(table[name]) for name in wanted.names]
    except DataError:
        raise
    except (ValueError, pa.ArrowException, OSError) as error:  # a name that is not UTF-8 is a ValueError
        name = str(folder if len(paths) > 1 else paths[0])
        raise DataError(f"{name} cannot be read as a table: {str(error).strip()}") from error
    place = place_in(paths, counts, lambda path, row: f"row {row + 1}")
    form = "Parquet" if len(paths) == 1 else f"Parquet in {len(paths)} parts"
    return Columns(values, form, place)


def _checked(column: Any) -> Any:
    """Return a column in one piece, NaN as a missing value; raises pyarrow's errors for text that is not UTF-8."""
    column = column.combine_chunks()
    column.validate(full=True)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), None, column)
    return column
