"""align.py REFERENCE READS: print the place of each read in the reference, its name and its bases."""

import sys

SEED = 12  # bases that must match
with open(sys.argv[1], encoding="ascii") as file:
    reference = file.read().strip()
with open(sys.argv[2], encoding="ascii") as file:
    for name, bases, _, _ in zip(file, file, file, file, strict=True):
        read = bases.strip()
        place = reference.find(read[:SEED])
        if len(read) >= SEED and place >= 0:
            print(place, name[1:].strip(), read, sep="\t")
