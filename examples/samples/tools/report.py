"""report.py TITLE VARIANTS: print a table of how many samples have each variant."""

import sys
from collections import Counter

with open(sys.argv[2], encoding="ascii") as file:
    rows = [line.split() for line in file]
samples = Counter((int(at), f"{old}>{new}") for at, old, new, *_ in rows)
print(f"# {sys.argv[1]}: {len(samples)} variants in {len({row[-1] for row in rows})} samples\n")
for (at, change), count in sorted(samples.items()):
    print(f"{at:>6} {change} {count:>4}")
