"""What the stand-ins share: FASTA, FASTQ, SAM and VCF, plain or gzipped. A malformed file ends the program."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys

COMPLEMENT = str.maketrans("ACGT", "TGCA")
FIXED = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"


def check(holds: object, text: str) -> None:
    if not holds:
        sys.exit(f"{sys.argv[0].rpartition('/')[2]}: {text}")


def reading(path: str) -> io.TextIOWrapper:
    """Open a file, plain or gzipped, or standard input (`-`)."""
    file = sys.stdin.buffer if path == "-" else open(path, "rb")
    start = file.peek(2)[:2]
    return io.TextIOWrapper(gzip.GzipFile(fileobj=file) if start == b"\x1f\x8b" else file, "ascii")


def write(path: str, lines: list[str]) -> None:
    """Write lines to standard output (`-`) or to a file, which is gzipped if it ends in .gz or .bam."""
    content = "".join(f"{line}\n" for line in lines).encode("ascii")
    if path.endswith((".gz", ".bam")):
        content = gzip.compress(content, mtime=0)
    if path == "-":
        sys.stdout.buffer.write(content)
        return
    with open(path, "wb") as file:
        file.write(content)


def fasta(path: str) -> dict[str, str]:
    with reading(path) as file:
        parts = [part.partition("\n") for part in file.read().split(">")[1:]]
    check(parts, f"{path} is not FASTA")
    return {name.split()[0]: bases.replace("\n", "") for name, _, bases in parts}


def fastq(path: str) -> list[tuple[str, str, str]]:
    """Return name, bases and qualities of each read."""
    with reading(path) as file:
        lines = file.read().splitlines()
    starts = range(0, len(lines), 4)
    check(len(lines) % 4 == 0 and all(lines[at].startswith("@") for at in starts), f"{path} is not FASTQ")
    return [(lines[at][1:].split()[0].partition("/")[0], lines[at + 1], lines[at + 3]) for at in starts]


def sam(path: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the aligned reads of a BAM file, as samtools shows them."""
    shown = subprocess.run(["samtools", "view", "-h", path], stdout=subprocess.PIPE, text=True, check=True)
    lines = shown.stdout.splitlines()
    reads = [line.split("\t") for line in lines if not line.startswith("@")]
    return [line for line in lines if line.startswith("@")], [read for read in reads if read[5] != "*"]


def write_bam(path: str, header: list[str], reads: list[list[str]]) -> None:
    text = "".join(f"{line}\n" for line in [*header, *("\t".join(read) for read in reads)])
    subprocess.run(["samtools", "view", "-b", "--no-PG", "-o", path, "-"], input=text, text=True, check=True)


def sample_of(header: list[str]) -> str:
    return re.search(r"\tSM:([^\t]+)", "\n".join(header))[1]


def aligned(read: list[str]) -> list[tuple[int, int, str]]:
    """Return place in the reference, place in the read, and operation, for each step of a read's CIGAR."""
    at, place, steps = int(read[3]) - 1, 0, []
    for count, operation in re.findall(r"(\d+)([MIDS=X])", read[5]):
        length = int(count)
        if operation in "M=X":
            steps += [(at + step, place + step, "M") for step in range(length)]
        elif operation in "ID":
            steps.append((at - 1, place - 1, f"{operation}{length}"))
        at += length if operation in "M=XD" else 0
        place += length if operation in "M=XIS" else 0
    return steps


def vcf(path: str) -> tuple[list[str], list[str], list[list[str]]]:
    """Return the header without its last line, the samples, and the fields of each variant."""
    with reading(path) as file:
        lines = file.read().splitlines()
    check(lines and lines[0].startswith("##fileformat=VCF"), f"{path} is not VCF")
    at = next(number for number, line in enumerate(lines) if line.startswith("#CHROM"))
    return lines[:at], lines[at].split("\t")[9:], [line.split("\t") for line in lines[at + 1 :]]


def write_vcf(path: str, header: list[str], samples: list[str], variants: list[list[str]]) -> None:
    write(path, [*header, "\t".join([FIXED, *samples]), *("\t".join(fields) for fields in variants)])


def in_order(header: list[str], variants: list[list[str]]) -> list[list[str]]:
    """Sort variants in the order of the contigs in the header."""
    contigs = re.findall(r"##contig=<ID=([^,>]+)", "\n".join(header))
    return sorted(variants, key=lambda fields: (contigs.index(fields[0]), int(fields[1]), fields[3:5]))
