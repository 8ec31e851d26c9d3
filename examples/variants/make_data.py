"""Write what the workflow of the original downloads, and the reads of each row of units.tsv: the same bytes every time.

`resources/` gets a genome of two contigs, known variants, regions, and the cache and plugins of VEP.
The variants of each sample are in `data/SAMPLE.truth.tsv`.
"""

from __future__ import annotations

import csv
import gzip
import random
from pathlib import Path

CONTIGS = {"chr1": 2000, "chr2": 1200}
READ, DEPTH, FRAGMENT = 80, 24, 200  # bases of a read; reads over each base, in a unit; bases of a pair
EVERY = 100  # bases from one variant to the next
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def save(path: str, text: str) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode("ascii")
    target.write_bytes(gzip.compress(content, mtime=0) if path.endswith(".gz") else content)


def make_resources(genome: dict[str, str], variants: list[tuple[str, int, str, str]]) -> None:
    save("resources/genome.fasta", "".join(f">{name}\n{bases}\n" for name, bases in genome.items()))
    lines = [f"##contig=<ID={name},length={len(bases)}>" for name, bases in genome.items()]
    rows = [f"{contig}\t{at + 1}\trs{at}\t{old}\t{new}\t.\t.\t." for contig, at, old, new in variants[::2]]
    head = ["##fileformat=VCFv4.2", *lines, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    save("resources/variation.vcf.gz", "\n".join([*head, *rows, ""]))
    save("resources/captured.bed", "".join(f"{name}\t200\t900\n" for name in genome))
    save("resources/vep/cache/genes.tsv", "".join(f"{name}\t300\t800\tGENE{name[3:]}\n" for name in genome))
    save("resources/vep/plugins/LoFtool.pm", "package LoFtool;\n1;\n")


def marks(chance: random.Random) -> str:
    """Return the qualities of a read, which fall towards its end."""
    return "".join(chr(33 + max(2, min(40, 110 - at + chance.randrange(-40, 5)))) for at in range(READ))


def make_reads(row: dict[str, str], copies: list[dict[str, str]]) -> None:
    chance, reads = random.Random(f"{row['sample']} {row['unit']}"), []
    for contig, length in CONTIGS.items():
        for _ in range(length * DEPTH // (2 * READ)):
            start, copy = chance.randrange(length - FRAGMENT), chance.choice(copies)
            fragment = copy[contig][start : start + FRAGMENT]
            reads.append((fragment[:READ], fragment[-READ:].translate(COMPLEMENT)[::-1]))
    reads += reads[:5]  # duplicates
    named = [(f"{row['sample']}.{row['unit']}.{number}", pair) for number, pair in enumerate(reads)]
    for path, mate in ((row["fq1"], 0), (row["fq2"], 1)):
        if path:
            save(path, "".join(f"@{name}\n{pair[mate]}\n+\n{marks(chance)}\n" for name, pair in named))


def main() -> None:
    chance = random.Random("genome")
    genome = {name: "".join(chance.choices("ACGT", k=length)) for name, length in CONTIGS.items()}
    variants = []
    for contig, bases in genome.items():
        for number, at in enumerate(range(EVERY, len(bases) - EVERY, EVERY)):
            old = bases[at]
            other = chance.choice([base for base in "ACGT" if base not in (old, bases[at + 1])])
            if number % 4 == 3:
                variants.append((contig, at, old, old + other))
            else:
                variants.append((contig, at, old, other))
    make_resources(genome, variants)
    with open("units.tsv", encoding="utf-8", newline="") as sheet:
        rows = list(csv.DictReader(sheet, delimiter="\t"))
    for sample in dict.fromkeys(row["sample"] for row in rows):
        of_sample, copies, truth = random.Random(sample), [dict(genome), dict(genome)], []
        for contig, at, old, new in reversed(variants):  # from the end, so that places before stay the same
            changed = of_sample.choice([(), (0,), (0, 1)])
            for copy in changed:
                bases = copies[copy][contig]
                copies[copy][contig] = bases[:at] + new + bases[at + len(old) :]
            if changed:
                truth.append(f"{contig}\t{at + 1}\t{old}\t{new}\t{'0/1' if len(changed) == 1 else '1/1'}\n")
        save(f"data/{sample}.truth.tsv", "".join(reversed(truth)))
        for row in rows:
            if row["sample"] == sample:
                make_reads(row, copies)


if __name__ == "__main__":
    main()
