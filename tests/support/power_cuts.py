"""Power cuts at drawn instants (at all with OFFPIPE_SWEEP=all), and the check that a run repairs what they leave."""

from __future__ import annotations

import os
import random

from disk_bench import result
from disk_model import Bytes

from runner.audit.verify import verify
from runner.engine import Options
from runner.errors import EXIT_OK, EXIT_PENDING

ALL = os.environ.get("OFFPIPE_SWEEP") == "all"
INSTANTS = 7


class Loss:
    """Draws which steps that need not be durable are lost: the last ones of each file and each name, independently."""

    def __init__(self, disk, until, seed):
        self._draw = random.Random(seed)
        self._durable = disk.durable(until, names_too=self._draw.random() < 0.5)
        self._share = self._draw.choice((0.0, 0.1, 0.5))
        self._lost = set()

    def __call__(self, at, step):
        if at in self._durable:
            return step
        keys = {step.inode} if isinstance(step, Bytes) else {(step.inode, name) for name, _ in step.changes}
        if self._lost.isdisjoint(keys) and self._draw.random() < self._share:
            return step
        torn = isinstance(step, Bytes) and step.data and step.inode not in self._lost
        self._lost |= keys
        return step._replace(data=step.data[: self._draw.randrange(len(step.data))]) if torn else None


def instants(disk, seed):
    """Return after how many steps the power is cut: drawn numbers, and the number of all steps."""
    every = range(1, len(disk.steps) + 1)
    if ALL:
        return list(every)
    return [*sorted(random.Random(seed).sample(every[:-1], INSTANTS - 1)), every[-1]]


def verified(bench):
    """Return the exit code of `verify`, and what is damaged or missing."""
    report = verify(str(bench.spec), Options())
    return report.exit_code, [f"{fault.file}: {fault.what}" for fault in (*report.damage, *report.incomplete)]


def assert_mended(bench, wanted, what):
    code, remarks = verified(bench)
    assert code in (EXIT_OK, EXIT_PENDING), f"{what}: {remarks}"
    done = bench.run()
    assert done.returncode == 0, f"{what}: {done.stdout}{done.stderr}"
    assert result(bench) == wanted, what
    assert bench.leftovers() == [], what
    assert verified(bench) == (EXIT_OK, []), what


def in_place(tree):
    """Remove from the tree the names of what is not in it, because only a lost directory had a name for it."""
    for directory in list(tree.directories):
        for name, number in list(tree.directories[directory].items()):
            if number not in tree.directories and number not in tree.files:
                del tree.directories[directory][name]
    return tree
