"""A device that sends packets is not a file: a tunnel that belongs to a user is closed to the user's stages."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from offline_attacks import filled
from offline_run import open_site
from offline_users import UnavailableError

pytestmark = pytest.mark.full

TUNNEL = ("unshare", "-n", "sh", "-c", 'ip tuntap add dev theirs mode tun user 0 && exec "$@"', "sh")
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")


@pytest.mark.parametrize("level", ["kernel", "filter"])
def test_a_tunnel_of_the_users_own_is_closed_to_stages(level):
    if missing := [program for program in ("unshare", "ip", "setpriv") if shutil.which(program) is None]:
        pytest.skip(f"no {missing[0]} here")
    try:
        with open_site(level, "root", java=False) as (site, bench):
            if "c" not in site.words:
                pytest.skip("no static C program can be built here")
            script = filled("@c@ tun - theirs", site.words)
            control = subprocess.run(
                [*TUNNEL, *WITHOUT_RIGHTS, "sh", "-c", script], capture_output=True, text=True, check=False
            )
            if "reached tun" not in control.stdout:
                pytest.skip(f"no tunnel can be had here: {control.stderr or control.stdout}")
            bench.define({"name": "a", "command": ["sh", "-c", script], "outputs": {"out": "x"}})
            popen = site.popen(level)
            bench.run(**{**popen, "command": (*TUNNEL, *popen["command"])})
            assert bench.records("run.start")[0]["data"]["isolation"]["level"] == level
            log = next((bench.root / "state/logs").rglob("a.1.log")).read_text()
            assert "trying" in log and "reached" not in log
    except UnavailableError as reason:
        pytest.skip(str(reason))
