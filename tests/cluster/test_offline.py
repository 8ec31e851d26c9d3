"""A stage on a worker reaches no more than one on this machine: neither a network, nor Dask, nor its worker.

tests/offline shows that each attack works without a guard. Those that are new here are tried without one here.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys

import pytest
from dask_cluster import DaskCluster
from offline_attacks import ATTACKS, IPV4, Attack
from offline_run import attacked, open_site, unguarded
from offline_users import DENY, UnavailableError
from pipeline_bench import wait_for

pytestmark = pytest.mark.full

TCP = "@python@ @programs@/attack.py tcp @token@ 127.0.0.1 @{0}@"
DASK = [Attack(f"dask-{name}", TCP.format(name), IPV4) for name in ("scheduler", "worker")]
ON_WORKER = ["c-getfd-outside", "c-trace-outside", "c-mem-outside", "c-vm-outside", "c-setns-pidfd"]
QUIET = {name for name, attack in ATTACKS.items() if not attack.families}
NO_PROMISE = {name for name, attack in ATTACKS.items() if attack.limit}  # at level filter
ON_RECORD = [attack for attack in (*ATTACKS.values(), *DASK) if attack.families]


@pytest.fixture(scope="module", params=["kernel", "filter"])
def outcome(tmp_path_factory, request):
    """Return the outcome of all attacks on one worker. It inherits sockets, and is the outside process of attacks."""
    level = request.param
    place = tmp_path_factory.mktemp("dask")
    with contextlib.ExitStack() as stack:
        try:
            site, bench = stack.enter_context(open_site(level, "unprivileged" if os.getuid() else "root"))
        except UnavailableError as reason:
            pytest.skip(str(reason))
        cluster = stack.enter_context(contextlib.closing(DaskCluster(place)))
        inherits = {"stdin": site.stdin, "pass_fds": [site.inherited.fileno()]}
        denied = (sys.executable, str(DENY)) if level == "filter" else ()
        worker = cluster.add("one", "--nthreads", "4", before=denied, popen=inherits)
        cluster.await_workers(1)
        ports = {
            "scheduler": cluster.address.rpartition(":")[2],
            "worker": wait_for(lambda: re.search(r"Start worker at: +tcp://.+:(\d+)", read(place)), "the worker")[1],
        }
        site.words |= {**ports, "outside": str(worker.pid), "descriptor": str(site.inherited.fileno())}
        outputs = {name: unguarded(site, ATTACKS[name]) for name in ON_WORKER}
        for port in ports.values():
            socket.create_connection(("127.0.0.1", int(port))).close()
        site.listeners.settle()
        site.listeners.received.clear()
        bench.cluster = str(cluster.file)
        outcomes = attacked(site, bench, "kernel", *DASK)
        yield {"level": level, "unguarded": outputs, **outcomes, "worker": worker.poll()}


def read(place):
    return (place / "worker.log").read_text()


def test_every_stage_ran_on_the_worker_at_its_level(outcome):
    assert outcome["isolation"]["level"] == outcome["level"]
    assert outcome["isolation"]["workers"].endswith(f"/one ({outcome['level']})")
    assert outcome["exit"] == 4, outcome["stderr"]
    assert outcome["ended"].keys() == outcome["output"].keys()
    assert [name for name in QUIET & outcome["output"].keys() if "trying" not in outcome["output"][name]] == []
    assert outcome["worker"] is None, "an attack ended the worker"


def test_no_listener_heard_anything_and_nothing_is_left_running(outcome):
    assert outcome["received"] == [] and outcome["left"] == []


def test_no_attack_reached_anything(outcome):
    reached = {name for name, output in outcome["output"].items() if "reached" in output}
    assert reached - (NO_PROMISE if outcome["level"] == "filter" else set()) == set()


@pytest.mark.parametrize("attack", ON_WORKER)
def test_an_attack_that_reaches_the_worker_without_a_guard_is_refused_in_a_stage(outcome, attack):
    if attack not in outcome["ended"]:
        pytest.skip("no static C program can be built here")
    assert "reached" in outcome["unguarded"][attack]
    assert "refused" in outcome["output"][attack] and "reached" not in outcome["output"][attack]


def test_all_attempts_are_on_record_even_those_at_the_sockets_of_dask(outcome):
    for attack in ON_RECORD:
        if attack.name in outcome["ended"]:
            families = {attempt["family"] for attempt in outcome["records"] if attempt["stage"] == attack.name}
            assert families & set(attack.families), (attack.name, outcome["output"][attack.name])
            assert outcome["ended"][attack.name] == ("failed" if attack.fails else "succeeded")
            assert outcome["attempts"][attack.name] == 1
