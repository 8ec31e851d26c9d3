"""What a power cut leaves, and that a run mends it. The instants are drawn, or all with OFFPIPE_SWEEP=all."""

from __future__ import annotations

import os
import random

from disk_bench import result
from disk_model import Bytes

from runner.engine import Options
from runner.engine.verify import verify
from runner.errors import EXIT_OK, EXIT_PENDING

ALL = os.environ.get("OFFPIPE_SWEEP") == "all"
INSTANTS = 7


class Loss:
    """What of the steps that need not be durable is lost: the last ones of each file and each name, each for itself."""

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
    """Directly before and behind steps, the last ones among them."""
    every = range(1, len(disk.steps) + 1)
    if ALL:
        return list(every)
    return [*sorted(random.Random(seed).sample(every[:-1], INSTANTS - 1)), every[-1]]


def verified(bench):
    """What `verify` finds: its exit code, and what is damaged or missing."""
    found = verify(str(bench.spec), Options())
    return found.exit_code, [f"{one.file}: {one.what}" for one in (*found.damage, *found.incomplete)]


def assert_mended(bench, wanted, what):
    code, remarks = verified(bench)
    assert code in (EXIT_OK, EXIT_PENDING), f"{what}: {remarks}"
    done = bench.run()
    assert done.returncode == 0, f"{what}: {done.stdout}{done.stderr}"
    assert result(bench) == wanted, what
    assert bench.leftovers() == [], what
    assert verified(bench) == (EXIT_OK, []), what


def in_place(tree):
    """The tree without what only a directory that was lost had a name for."""
    for directory in list(tree.directories):
        for name, number in list(tree.directories[directory].items()):
            if number not in tree.directories and number not in tree.files:
                del tree.directories[directory][name]
    return tree
