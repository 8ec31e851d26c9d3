"""With the configuration in docs/cluster.md, the scheduler, the workers and the run talk over TLS."""

from __future__ import annotations

import re
import subprocess

import pytest
from pipeline_bench import ROOT, shell

pytestmark = pytest.mark.full

MAKE_KEY = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=offpipe"
    " -keyout key.pem -out cert.pem"
)


def test_a_cluster_with_the_documented_configuration_needs_its_keys(bench, make_cluster, tmp_path, monkeypatch):
    subprocess.run(MAKE_KEY.split(), cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "ca.pem").write_bytes((tmp_path / "cert.pem").read_bytes())
    page = re.search(r"```yaml\n(.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)[1]
    (tmp_path / "tls.yaml").write_text(page.replace("/shared", str(tmp_path)))
    config = {"DASK_CONFIG": str(tmp_path / "tls.yaml"), "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls"}
    cluster = make_cluster("one", **config)
    bench.define(shell("a", "echo a >$PIPELINE_OUTPUT_OUT"))
    done = bench.run("--cluster", str(cluster.file), "--cluster-wait", "1")
    assert done.returncode == 74
    assert cluster.address.startswith("tls://") and "TLS" in done.stderr
    monkeypatch.setenv("DASK_CONFIG", config["DASK_CONFIG"])
    bench.succeed("--cluster", str(cluster.file))
    assert bench.read("out/a.txt") == b"a\n"
