"""plot_stats.py TABLE DEPTHS FREQS: draw the read depths and allele frequencies of each sample, as SVG."""

import gzip
import sys

table, depths, freqs = sys.argv[1:]
with gzip.open(table, "rt", encoding="ascii") as lines:
    samples, names, *rows = (line.rstrip("\n").split("\t") for line in lines)
found = [(samples[at], int(row[at]), int(row[at + 1])) for row in rows for at in range(len(names)) if names[at] == "DP"]
order = [sample for sample in dict.fromkeys(samples) if sample != "VARIANT"]
deepest = max((depth for _, depth, _ in found), default=1)


def draw(path: str, title: str, points: list) -> None:
    """Draw one column of points for each sample; the values of `points` are between 0 and 1."""
    labels = [f'<text x="{60 + 80 * at}" y="230">{sample}</text>' for at, sample in enumerate(order)]
    places = [(60 + 80 * order.index(sample), 210 - 180 * value) for sample, value in points]
    circles = [f'<circle cx="{x}" cy="{y:.1f}" r="3"/>' for x, y in places]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{80 + 80 * len(order)}" height="240">'
    with open(path, "w", encoding="ascii") as file:
        file.write("\n".join([head, f'<text x="10" y="15">{title}</text>', *labels, *circles, "</svg>", ""]))


draw(depths, f"read depth, up to {deepest}", [(name, depth / deepest) for name, depth, _ in found if depth])
draw(freqs, "allele frequency", [(name, min(1, count / depth)) for name, depth, count in found if depth])
