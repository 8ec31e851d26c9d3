"""Addresses, schedulers that cannot be reached, and runs that need none."""

from __future__ import annotations

import signal
import socket

import pytest
from pipeline_bench import ROOT, kill, shell


@pytest.fixture
def bench(bench):
    bench.define(shell("a", "echo a >$PIPELINE_OUTPUT_OUT"))
    return bench


def test_a_run_with_nothing_to_do_needs_no_cluster(bench):
    bench.succeed()
    bench.succeed("--cluster", "tcp://127.0.0.1:1")


def test_only_a_run_on_a_cluster_needs_dask(bench, tmp_path):
    for name in ("dask", "distributed"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no', name={name!r})")
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = bench.run("--cluster", "local:1", env=env)
    assert done.returncode == 2
    assert "needs dask, which is not installed" in done.stderr and "pip install 'DIR[cluster]'" in done.stderr
    bench.succeed(env=env)


NO_ADDRESS = ["local:0", "local:x", "nothing", "", "http://127.0.0.1:8787"]
NO_PORT = ["tcp://127.0.0.1", "tcp://:8786", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999", "tls://127.0.0.1:123456"]


@pytest.mark.parametrize("address", NO_ADDRESS + NO_PORT)
def test_an_address_of_another_form_is_refused(bench, address):
    done = bench.run(f"--cluster={address}")
    assert done.returncode == 2
    assert "--cluster" in done.stderr and "hint: " in done.stderr


@pytest.mark.parametrize("host", ["no..host", "no-such-host.invalid"])
def test_a_host_that_does_not_exist_is_refused_at_once(bench, host):
    with pytest.raises((socket.gaierror, UnicodeError)) as unknown:
        socket.getaddrinfo(host, None)
    if getattr(unknown.value, "errno", None) == socket.EAI_AGAIN:
        pytest.skip("no name server answers on this machine")
    done = bench.run(f"--cluster=tcp://{host}:8786")
    assert done.returncode == 2, done.stderr
    assert f'--cluster: no host has the name "{host}"' in done.stderr
    assert bench.has_only_refused()


@pytest.mark.full
def test_a_scheduler_that_is_not_there_ends_the_run(bench):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = bench.run("--cluster", f"tcp://127.0.0.1:{free.getsockname()[1]}", "--cluster-wait", "1")
    assert_no_scheduler(done)


@pytest.mark.full
def test_a_scheduler_that_does_not_answer_ends_the_run(bench, make_cluster):
    cluster = make_cluster()
    kill(cluster.scheduler.pid, signal.SIGSTOP)
    assert_no_scheduler(bench.run("--cluster", cluster.address, "--cluster-wait", "1", timeout=30))


@pytest.mark.full
@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"address": 5}', '{"address": "tls://127.0.0.1:1"}'])
def test_a_file_that_names_no_scheduler_ends_the_run(bench, content):
    """The scheduler may still be writing it, so the run reads it again until the end of --cluster-wait."""
    if content is not None:
        bench.write("scheduler.json", content)
    assert_no_scheduler(bench.run("--cluster", f"{bench.root}/scheduler.json", "--cluster-wait", "0.1"))


def assert_no_scheduler(done):
    assert done.returncode == 74, done.stderr
    assert "cannot connect to the scheduler" in done.stderr and "Traceback" not in done.stderr
