"""Rows of Parquet, CSV and TSV files, with the heavy columns left on disk until somebody looks.

    for row in read_rows(folder / "data" / "test.parquet", lazy=("image", "crop_image")):
        Sample(id=row["id"], image=row["image"], ...)        # row["image"] is a function that reads this one cell

Built on `datasets`, which converts a file once into a memory-mapped Arrow file in its cache: any row is then read
alone, in any order, however large the table is.

Limits: the cache takes as much disk as the data (HF_DATASETS_CACHE says where). Cells of CSV and TSV are text, empty
ones None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gapbench.errors import BenchmarkError

Row = Mapping[str, Any]

AT_A_TIME = 64
"""Rows that are read together; where a row holds a picture of an 8K screen, this is already gigabytes."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Table:
    """An open table; its name and length identify it, whatever machine it lies on."""

    name: str
    data: Any

    def __repr__(self) -> str:
        return f"{self.name} ({len(self.data)} rows)"

    def cell(self, row: int, column: str) -> Any:
        """One value, read now."""
        return self.data.select_columns([column])[row][column]


def read_rows(files: Path | Sequence[Path], lazy: Sequence[str] = (), needs: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of one table, which may be spread over several files in their order.

    Columns named in `lazy` become functions without arguments, or None where the cell is empty; a lazy column the
    table does not have is None throughout. Raises BenchmarkError for a missing or unreadable file, and for a column of
    `needs` that is not there.
    """
    table = open_table(files, needs)
    there = set(table.data.column_names)
    heavy = [column for column in lazy if column in there]
    filled = {column: _filled(table.data, column) for column in heavy}
    light = table.data.remove_columns(heavy)
    for number in range(len(table.data)) if not light.column_names else ():
        yield {c: partial(table.cell, number, c) if filled[c][number] else None for c in lazy if c in there}
    for start in range(0, len(light), AT_A_TIME) if light.column_names else ():
        chunk = light[start : start + AT_A_TIME]
        for offset, values in enumerate(zip(*chunk.values(), strict=True)):
            row: dict[str, Any] = {c: _empty_as_none(v) for c, v in zip(chunk, values, strict=True)}
            number = start + offset
            for column in lazy:
                shown = column in there and filled[column][number]
                row[column] = partial(table.cell, number, column) if shown else None
            yield row


def open_table(files: Path | Sequence[Path], needs: Sequence[str] = ()) -> Table:
    """The table in some files of one kind; HF images stay encoded."""
    paths = [files] if isinstance(files, Path) else list(files)
    missing = [p for p in paths if not p.is_file()]
    if missing or not paths:
        raise BenchmarkError(f"{missing[0] if missing else 'table'}: not found. Is the local copy complete?")
    import datasets

    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    given = {"data_files": [str(p) for p in paths], "split": "train"}
    suffix = paths[0].suffix.lower()
    try:
        if suffix == ".parquet":
            data = datasets.load_dataset("parquet", batch_size=AT_A_TIME, **given)
        elif suffix in SEPARATORS:
            data = datasets.load_dataset(
                "csv", sep=SEPARATORS[suffix], dtype=str, keep_default_na=False, chunksize=AT_A_TIME,
                encoding="utf-8-sig", **given,
            )  # fmt: skip
        else:
            raise BenchmarkError(f"{paths[0]}: expected a .parquet, .csv or .tsv file.")
    except BenchmarkError:
        raise
    except Exception as error:  # datasets wraps whatever its readers raise
        cause = error.__cause__ or error
        raise BenchmarkError(
            f"{paths[0]}: cannot be read as {suffix.lstrip('.')} ({type(cause).__name__}: {str(cause)[:300]}). "
            "Fetch the file again, or check how it was written."
        ) from error
    for column, feature in data.features.items():
        if isinstance(feature, datasets.Image):
            data = data.cast_column(column, datasets.Image(decode=False))
    lacking = [c for c in needs if c not in data.column_names]
    if lacking:
        raise BenchmarkError(
            f"{paths[0]}: it has no column {', '.join(map(repr, lacking))}. Found: {', '.join(data.column_names)}."
        )
    return Table(name, data)


def _filled(data: Any, column: str) -> list[bool]:
    """Which rows have a value; an HF image counts if it has bytes or a path."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = data.data.column(column)
    found: list[bool] = []
    for chunk in values.chunks:
        there = pc.is_valid(chunk)
        if pa.types.is_struct(chunk.type):
            parts = [pc.is_valid(chunk.field(k)) for k in range(chunk.type.num_fields)]
            some = parts[0] if parts else there
            for part in parts[1:]:
                some = pc.or_(some, part)
            there = pc.and_(there, some)
        elif pa.types.is_string(chunk.type) or pa.types.is_binary(chunk.type):
            there = pc.and_(there, pc.greater(pc.fill_null(pc.binary_length(chunk), 0), 0))
        found += there.to_pylist()
    rows = data._indices
    return found if rows is None else [found[i] for i in rows.column(0).to_pylist()]


def _empty_as_none(value: Any) -> Any:
    """Empty text and not-a-number are how tables write that there is nothing."""
    return None if value == "" or (isinstance(value, float) and value != value) else value
