"""Stage: the average of each place, in the order of places."""

from __future__ import annotations

import csv
from collections import defaultdict

from runner import sdk
from station.readings import parse


def main() -> None:
    degrees: defaultdict[str, list[float]] = defaultdict(list)
    with sdk.stage() as stage:
        with open(stage.input("readings"), encoding="utf-8") as readings:
            for line in readings:
                reading = parse(line)
                degrees[reading.place].append(reading.celsius)
        with open(stage.outputs["averages"], "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            for place, values in sorted(degrees.items()):
                table.writerow([place, f"{sum(values) / len(values):.{stage.params['digits']}f}"])


if __name__ == "__main__":
    main()
