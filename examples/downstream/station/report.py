"""Stage: a page for people. It says when it was made, so its bytes are never the same twice."""

from __future__ import annotations

import time

from runner import sdk

with sdk.stage() as stage, stage.lines("averages", to="page", encoding="utf-8") as job:
    job.write(f"Averages, made {time.strftime('%Y-%m-%d %H:%M:%S')} UTC\n\n")
    for line in job:
        place, average = line.rstrip("\n").split(",")
        job.write(f"{place:12}{average:>8}\n")
