"""Trend and season of a weekly CO2 series, by the standard library alone.

Input: CSV with a date (YYYYMMDD) and parts per million a line, plain or gzip. Missing
weeks are empty. Result: JSON with the yearly trend and the seasonal swing.
"""

import gzip
import json
import os
import statistics
import sys

JOB = os.environ.get("WORKRS_JOB_DIR", "/job")


def read_series(data: bytes) -> list[tuple[float, int, float]]:
    """Return [(year as a fraction, month from 0, ppm), …]."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    series = []
    for line in data.decode().splitlines():
        date, _, value = line.replace('"', "").partition(",")
        if date[:8].isdigit() and value.strip() not in ("", "NA"):
            year, month, day = int(date[:4]), int(date[4:6]), int(date[6:8])
            series.append((year + (month - 1) / 12 + day / 365, month - 1, float(value)))
    return series


def main() -> int:
    """Fit a line through the years, then the mean of each month around it."""
    with open(f"{JOB}/in/input", "rb") as given:
        series = read_series(given.read())
    if len(series) < 24:
        print("the series has fewer than 24 values: send CSV lines DATE,PPM", file=sys.stderr)
        return 78
    fit = statistics.linear_regression([s[0] for s in series], [s[2] for s in series])
    months: list[list[float]] = [[] for _ in range(12)]
    for year, month, ppm in series:
        months[month].append(ppm - (fit.intercept + fit.slope * year))
    season = [round(statistics.fmean(m), 3) if m else None for m in months]
    known = [value for value in season if value is not None]
    with open(f"{JOB}/progress", "a") as progress:
        progress.write("1 fitted\n")
    print(
        json.dumps(
            {
                "weeks": len(series),
                "ppm_per_year": round(fit.slope, 4),
                "season_ppm": season,
                "swing_ppm": round(max(known) - min(known), 3),
                "last_ppm": series[-1][2],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
