"""trim.py QUALITY READS: cut each read of a FASTQ file before its first base of a lower quality."""

import sys

quality, reads = int(sys.argv[1]), sys.argv[2]
with open(reads, encoding="ascii") as file:
    for name, bases, plus, marks in zip(file, file, file, file, strict=True):
        kept = next((at for at, mark in enumerate(marks.rstrip()) if ord(mark) - 33 < quality), len(marks) - 1)
        print(name, bases[:kept], "\n", plus, marks[:kept], sep="")
