"""The whole pipeline, and what faults do to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_offpipe import Offpipe, OffpipeClock, OffpipeFaults, OffpipeSpec, RunReport


def test_every_place_has_an_average(offpipe_run: RunReport) -> None:
    lines = offpipe_run.stages["averages"].outputs["averages"].text.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["harbour", "summit"]


def test_no_reading_is_lost_by_a_kill(
    offpipe: Offpipe, offpipe_spec: OffpipeSpec, offpipe_faults: OffpipeFaults
) -> None:
    offpipe_faults.kill("clean", at_checkpoint=2)  # tests/conftest.py sets the interval
    assert offpipe.run(offpipe_spec).stages["clean"].status == "failed"
    clean = offpipe.run(offpipe_spec).stages["clean"]
    assert (len(clean.outputs["readings"].lines), len(clean.outputs["rejected"].lines)) == (120, 4)


def test_waits_between_attempts(
    offpipe: Offpipe, offpipe_spec: OffpipeSpec, offpipe_faults: OffpipeFaults, offpipe_clock: OffpipeClock
) -> None:
    offpipe_spec.stage("clean")["retry"] = {"attempts": 3, "delaySeconds": 30, "jitter": 0}
    offpipe_faults.exit_code("clean", 75)
    assert offpipe.run(offpipe_spec).exit_code == 0
    assert offpipe_clock.slept == [30]


@pytest.mark.offpipe_spec("specs/readings.json", params={"averages": {"digits": 0}})
def test_averages_are_rounded_as_the_spec_says(offpipe: Offpipe, offpipe_spec: OffpipeSpec) -> None:
    report = offpipe.run(offpipe_spec, stages="averages")
    assert "." not in report.stages["averages"].outputs["averages"].text
