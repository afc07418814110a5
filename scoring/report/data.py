"""A report as data: JSON with everything, and CSV with a line per cell of every table."""

import csv
import io
import json
import math
from typing import Any

from .document import Cell, DataTable, Document, Value

CSV_COLUMNS = ("table", "row", "name", "column", "value", "low", "high", "text")


def render_json(document: Document) -> str:
    """The leaderboard, and all tables as values; what is missing is null."""
    return _dumps(document, indent=1) + "\n"


def for_script(document: Document) -> str:
    """The same on one line, with nothing in it that could end a script element."""
    text = _dumps(document, separators=(",", ":"))
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def _dumps(document: Document, **layout: Any) -> str:
    content = {
        "title": document.title,
        "generator": document.generator,
        "banner": document.banner,
        "summary": dict(document.summary),
        "warnings": list(document.warnings),
        "notes": list(document.notes),
        "leaderboard": document.leaderboard,
        "tables": {table.key: _table(table) for table in document.tables()},
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, **layout)


def _table(table: DataTable) -> dict[str, Any]:
    return {
        "caption": table.caption,
        "note": table.note,
        "columns": [column.name for column in table.columns],
        "rows": [[_json_cell(cell) for cell in row] for row in table.rows],
    }


def _json_cell(cell: Cell) -> Any:
    """The value; an object with `low` and `high` where there is an interval."""
    if cell.interval is None:
        return _finite(cell.value)
    low, high = map(_finite, cell.interval)
    return {"value": _finite(cell.value), "low": low, "high": high}


def _finite(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def render_csv(document: Document) -> str:
    """`table,row,name,column,value,low,high,text`, where `name` is the row's."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in document.tables():
        names = [i for i, column in enumerate(table.columns) if not column.is_numeric]
        for number, row in enumerate(table.rows, start=1):
            name = row[names[0]].text
            for column, cell in zip(table.columns, row, strict=True):
                low, high = cell.interval or (None, None)
                values = [_finite(v) for v in (cell.value, low, high)]
                words = cell.words
                line = [table.key, number, name, column.name, *values, words]
                writer.writerow([_harmless(item) for item in line])
    return text.getvalue()


def _harmless(item: object) -> object:
    """Spreadsheets run texts that start like formulas; those get an apostrophe."""
    if isinstance(item, str) and item[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{item}"
    return item
