"""Stage: readings in one spelling and scale. Lines that it cannot read go into an output of their own."""

from __future__ import annotations

from runner import sdk
from station.readings import parse, spell


def main() -> None:
    with sdk.stage() as stage, stage.lines("raw", to=("readings", "rejected"), encoding="utf-8") as job:
        for line in job:
            try:
                job.write(spell(parse(line)), to="readings")
            except ValueError:
                job.write(line, to="rejected")


if __name__ == "__main__":
    main()
