"""Write the reference and the reads of each row of samples.csv below in/: the same bytes every time."""

from __future__ import annotations

import csv
import random
from pathlib import Path

LENGTH, READS, READ = 600, 60, 40  # bases of the reference; reads in a file; bases of a read
VARIANTS = 30


def main() -> None:
    chance = random.Random("reference")
    reference = "".join(chance.choices("ACGT", k=LENGTH))
    variants = {place: chance.choice("ACGT") for place in chance.sample(range(LENGTH), VARIANTS)}
    Path("in").mkdir(exist_ok=True)
    Path("in/reference.txt").write_text(reference + "\n", encoding="ascii")
    with open("samples.csv", encoding="utf-8", newline="") as sheet:
        for row in csv.DictReader(sheet):
            of_sample = random.Random(row["sample"])
            bases = list(reference)
            for place, base in variants.items():
                if of_sample.random() < 0.5:
                    bases[place] = base
            write_reads(row, "".join(bases))


def write_reads(row: dict[str, str], bases: str) -> None:
    chance = random.Random(f"{row['sample']} {row['lane']}")
    with open(row["reads"], "w", encoding="ascii") as file:
        for number in range(READS):
            start = chance.randrange(LENGTH - READ)
            qualities = "".join(chr(33 + min(40, 70 - at + chance.randrange(-25, 5))) for at in range(READ))
            file.write(f"@{row['sample']}.{row['lane']}.{number}\n{bases[start : start + READ]}\n+\n{qualities}\n")


if __name__ == "__main__":
    main()
