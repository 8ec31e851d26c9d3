"""The hooks of a run: which plugins are found, and which modules the search loads."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runner.engine.start import make_hooks
from runner.hookspecs import hookimpl

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
import sys
import pluggy
from runner.engine.start import make_hooks
made, register = [], pluggy.PluginManager.register
pluggy.PluginManager.register = lambda self, plugin, name=None: made.append(name) or register(self, plugin, name)
make_hooks(())
print(sorted(made))
print("importlib.metadata" in sys.modules)
"""
DESCRIBED = {
    "METADATA": "Metadata-Version: 2.1\nName: third\nVersion: 1\n",
    "entry_points.txt": "[offpipe]\nthird = third_party_hooks\n",
}


def shown(place):
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{place}"}
    command = [sys.executable, "-c", SHOW]
    ended = subprocess.run(command, cwd=place.parent, env=environment, capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()


def installed(place, name="third-1.dist-info", **described):
    place.mkdir(exist_ok=True)
    (place / "third_party_hooks.py").touch()
    (place / name).mkdir()
    for file, content in {**DESCRIBED, **described}.items():
        (place / name / file).write_text(content)
    return place


@pytest.mark.parametrize("name", ["third-1.dist-info", "third.egg-info", "Third-1.DIST-INFO"])
def test_hooks_of_an_installed_distribution_are_found(name, tmp_path) -> None:
    assert shown(installed(tmp_path / "site", name)) == ["['third']", "True"]


def test_hooks_in_an_archive_are_found(tmp_path) -> None:
    site = installed(tmp_path / "site")
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        for path in site.rglob("*"):
            archive.write(path, path.relative_to(site))
    assert shown(tmp_path / "site.zip") == ["['third']", "True"]


def test_distributions_without_hooks_of_ours_load_nothing(tmp_path) -> None:
    others = {"entry_points.txt": "[pytest11]\noffpipe = third_party_hooks\n"}
    assert shown(installed(tmp_path / "site", **others)) == ["[]", "False"]


def test_a_hook_may_have_another_name():
    class Other:
        @hookimpl(specname="offpipe_should_retry")
        def _decide(self):
            return True

    other = Other()
    hooks = make_hooks((other,))
    assert [hook.plugin for hook in hooks.offpipe_should_retry.get_hookimpls()] == [other]
    assert hooks.offpipe_should_retry(stage=None, attempt=None, retryable=False) is True
