"""The small shipped data: real flights, written in the official layout of Criteo 1TB.

A flight becomes a line: the label (more than 15 minutes late), 13 integers and 26
categories, all known before departure, some of them missing or negative as in the real
logs. A category's value is spelt as 8 hexadecimal characters of a checksum.
"""

import csv
import datetime
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

FLIGHTS = "flights.csv.gz"
WEATHER = "weather.csv.gz"
# fmt: off
FLIGHT_COLUMNS = (
    "month", "day", "hour", "minute", "sched_arr_time", "carrier", "flight", "tailnum",
    "origin", "dest", "distance", "late",
)
WEATHER_COLUMNS = (
    "origin", "month", "day", "hour", "temp", "humid", "wind_dir", "wind_speed",
    "precip", "pressure", "visib",
)
# fmt: on
_EMBEDDED = Path(__file__).parent / "embedded"
_YEAR = 2013
_SEED = 20260
_NUM_DAYS = 24
# Rows of the last day, the first half test and the second half validation; the other
# days share the rest.
_LAST_DAY_ROWS = 20_000

Row = Mapping[str, str]


def expand(raw: Path) -> None:
    """Writes `day_0.gz` … `day_23.gz` into `raw`: flights in an order drawn once."""
    raw.mkdir(parents=True, exist_ok=True)
    lines = np.array(_lines(_read(FLIGHTS), _read(WEATHER)), dtype=object)
    rng = np.random.Generator(np.random.Philox(_SEED))
    mixed = lines[rng.permutation(len(lines))]
    num_others = len(mixed) - _LAST_DAY_ROWS
    days = [*np.array_split(mixed[:num_others], _NUM_DAYS - 1), mixed[num_others:]]
    for day, chosen in enumerate(days):
        content = "".join(chosen).encode()
        (raw / f"day_{day}.gz").write_bytes(gzip.compress(content, 1, mtime=0))


def _read(name: str) -> list[dict[str, str]]:
    content = gzip.decompress((_EMBEDDED / name).read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(content)))


def _lines(flights: Sequence[Row], weather: Sequence[Row]) -> list[str]:
    weather_at = {_place_and_hour(row): row for row in weather}
    departures = Counter(map(_place_and_hour, flights))
    legs: Counter[tuple[str, ...]] = Counter()
    lines = []
    for flight in flights:
        at = _place_and_hour(flight)
        plane = flight["tailnum"], flight["month"], flight["day"]
        legs[plane] += 1  # flights are in the order of their days
        now = weather_at.get(at, dict.fromkeys(WEATHER_COLUMNS, ""))
        integers = _integers(flight, now, departures[at], legs[plane])
        categories = (_hexadecimal(v) for v in _categories(flight, now))
        lines.append("\t".join((flight["late"], *integers, *categories)) + "\n")
    return lines


def _place_and_hour(row: Row) -> tuple[str, ...]:
    return row["origin"], row["month"], row["day"], row["hour"]


def _integers(flight: Row, now: Row, num_departures: int, leg: int) -> tuple[str, ...]:
    """13 integers; empty where unknown, negative where the quantity is."""
    departure = 60 * int(flight["hour"]) + int(flight["minute"])
    hours, minutes = divmod(int(flight["sched_arr_time"]), 100)
    return (
        str(departure),
        str(60 * hours + minutes),
        flight["distance"],
        str(60 * hours + minutes - departure),  # by local clocks, so it may be negative
        str(num_departures),
        str(leg),
        flight["day"],
        _scaled(now["temp"], 1, 0),
        _scaled(now["humid"], 1, 0),
        _scaled(now["wind_speed"], 1, 0),
        _scaled(now["precip"], 100, 0),
        _scaled(now["pressure"], 1, 1000),
        _scaled(now["visib"], 10, 0),
    )


def _scaled(cell: str, factor: float, offset: float) -> str:
    return str(round(factor * (float(cell) - offset))) if cell else ""


def _categories(flight: Row, now: Row) -> tuple[str, ...]:
    """26 values; the columns with few buckets have values that are few. See NUM_BUCKETS."""
    date = f"{flight['month']}-{flight['day']}"
    weekday = str(datetime.date(_YEAR, *map(int, date.split("-"))).weekday())
    hour, origin, dest = flight["hour"], flight["origin"], flight["dest"]
    carrier, tail = flight["carrier"], flight["tailnum"]
    part = f"{date}/{int(hour) // 3}"
    wind = _band(now["wind_speed"], 4)
    return (
        tail,  # 0
        f"{carrier}{flight['flight']}",
        f"{origin}-{dest}",
        f"{carrier}-{dest}",
        f"{date}/{origin}",
        origin,  # 5: 3 buckets
        f"{date}/{hour}",
        f"{part}/{origin}",
        hour,  # 8: 63 buckets
        f"{origin}/{dest}/{carrier}",
        f"{date}/{dest}",
        f"{weekday}/{hour}",
        weekday,  # 12: 10 buckets
        f"{date}/{carrier}",
        f"{dest}/{hour}",
        dest,  # 15: 155 buckets
        _band(now["precip"], 0.05),  # 16: 4 buckets
        f"{carrier}/{hour}",
        _band(now["visib"], 1),  # 18: 14 buckets
        f"{part}/{carrier}",
        f"{dest}/{weekday}",
        f"{date}/{hour}/{origin}",
        f"{origin}/{hour}/{wind}",
        f"{_band(now['temp'], 5)}/{_band(now['humid'], 10)}" if now["temp"] else "",
        carrier,  # 24: 108 buckets
        wind,  # 25: 36 buckets
    )


def _band(cell: str, width: float) -> str:
    return str(int(float(cell) / width)) if cell else ""


def _hexadecimal(value: str) -> str:
    return f"{zlib.crc32(value.encode()):08x}" if value else ""
