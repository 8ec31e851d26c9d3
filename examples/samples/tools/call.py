"""call.py SAMPLE PLOIDY MIN-DEPTH REFERENCE READS: print each base that differs, and the number of its copies."""

import sys
from collections import Counter, defaultdict

sample, ploidy, depth = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(sys.argv[4], encoding="ascii") as file:
    reference = file.read().strip()
piles = defaultdict(Counter)
with open(sys.argv[5], encoding="ascii") as file:
    for line in file:
        place, _, read = line.split()
        for at, base in enumerate(read, int(place)):
            piles[at][base] += 1
for at, pile in sorted(piles.items()):
    for base, count in sorted(pile.items()):
        copies = round(ploidy * count / pile.total())
        if base != reference[at] and count >= depth and copies:
            print(at, reference[at], base, copies, sample, sep="\t")
