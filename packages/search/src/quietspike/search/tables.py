"""Tables as CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from quietspike.core.weights import write_whole


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write rows, whole or not at all.

    Args:
        path: of the file.
        rows: each a mapping from columns to values; one without a column leaves it empty.
        columns: the header, also where there is no row. Rows are then not kept, so that millions of them need no more
            memory than the file has bytes. Where ``None``, a column is there if one row has it.

    Raises:
        ValueError: if a row has a column that is not among ``columns``.
    """
    if columns is None:
        rows = list(rows)
        columns = list(dict.fromkeys(column for row in rows for column in row))
    file = io.BytesIO()
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    if columns:
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    text.flush()
    write_whole(path, file.getvalue())
