"""Every sealed byte counts: any change of any byte is damage.

Half of the bytes are changed, with a key or signatures a quarter; with OFFPIPE_SWEEP=all and neither, all.
"""

from __future__ import annotations

import pytest
from audit_bench import INSTANCE, A, State
from crash_sweep import ALL
from pipeline_bench import PipelineBench
from signing_keys import make_keys

from runner.record.seal import Seal

pytestmark = pytest.mark.full

OTHERS = b'\n \0"0}1x\xff9'
KEY = Seal(b"a key of some length")


@pytest.fixture(scope="module", params=["plain", "keyed", "signed"])
def sealed(request, tmp_path_factory):
    """A small state directory (a stage and an instance, a run with work and one without), its seal, and the step."""
    base = tmp_path_factory.mktemp("bytes")
    bench = PipelineBench(base / "work")
    bench.root.mkdir()
    bench.write("in.txt", "one\n")
    bench.define(A, INSTANCE)
    (base / "key").write_bytes(b"a key of some length")
    keyed = {"OFFPIPE_AUDIT_KEY_FILE": str(base / "key")}
    env = {"plain": {}, "keyed": keyed, "signed": make_keys(base, "sign").env}[request.param]
    bench.succeed(env=env)
    bench.succeed(env=env)
    bench.close()
    return (
        bench.root / "state",
        KEY if request.param == "keyed" else Seal(),
        (1 if ALL else 2) if request.param == "plain" else 4,
    )


def files_of(directory):
    return sorted(path.name for path in directory.iterdir() if path.name.startswith(("audit_", "stage_", "metrics_")))


@pytest.mark.parametrize("turn", range(4))
def test_every_flipped_byte_is_noticed(sealed, tmp_path, turn):
    directory, seal, step = sealed
    state = State(directory, tmp_path / "state")
    assert state.damage(seal=seal) == []
    unnoticed = []
    names = files_of(directory)
    assert len(names) == 7
    for name in names:
        content = state.file(name).read_bytes()
        for at in range(turn, len(content), 4 * step):
            other = next(
                byte for byte in (OTHERS[at % len(OTHERS)], content[at] ^ (1 << at % 8)) if byte != content[at]
            )
            state.file(name).write_bytes(content[:at] + bytes([other]) + content[at + 1 :])
            if not state.damage(seal=seal):
                unnoticed.append((name, at, other))
        state.file(name).write_bytes(content)
    assert unnoticed == []


def test_every_byte_that_is_left_out_or_doubled_is_noticed(sealed, tmp_path):
    directory, seal, step = sealed
    state = State(directory, tmp_path / "state")
    for name in files_of(directory):
        content = state.file(name).read_bytes()
        for at in range(0, len(content) - 1, 19 * step):
            for changed in (content[:at] + content[at + 1 :], content[: at + 1] + content[at:]):
                state.file(name).write_bytes(changed)
                assert changed == content or state.damage(seal=seal), (name, at)
        state.file(name).write_bytes(content)
