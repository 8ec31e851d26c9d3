"""The script of `completion` works in real shells: the tests type the start of a line, then Tab."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time

import pytest
from forked_runs import offpipe
from pipeline_bench import PATIENCE

LINES = {
    "ver": "verify",
    "dem": "demo.json",
    "my": "my spec.json",
    "runs demo.json --fai": "runs demo.json --failed",
    "verify --outputs dem": "verify --outputs demo.json",
    "who demo.json dem": "who demo.json demo.json",
    "runs --summary demo.json dem": "runs --summary demo.json demo.json",
    "graph demo.json --format mer": "graph demo.json --format mermaid",
    "run --workspace pla": "run --workspace place",
    "completion zs": "completion zsh",
}
SETUP = {
    "bash": (["bash", "--norc", "-i"], "source offpipe.script"),
    "zsh": (["zsh", "-f", "-i"], "fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D"),
}


@pytest.fixture(params=["bash", "fish", pytest.param("zsh", marks=pytest.mark.full)])
def shell(request, tmp_path):
    """The name of an installed shell; `tmp_path` has its completion script and some files."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    script = offpipe("completion", request.param)
    assert (script.returncode, script.stderr) == (0, "")
    (tmp_path / "functions").mkdir()
    for name in ("offpipe.script", "functions/_offpipe"):
        (tmp_path / name).write_text(script.stdout)
    for name in ("demo.json", "my spec.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "place").mkdir()
    return request.param


def test_it_completes_verbs_specs_options_and_their_words(shell, tmp_path):
    completed = (
        map(fish_completes, LINES, fish_offers(LINES, tmp_path)) if shell == "fish" else typed(shell, LINES, tmp_path)
    )
    assert dict(zip(LINES, completed, strict=True)) == LINES


def test_offers_every_verb_and_file_as_the_first_word(shell, tmp_path):
    from runner.cli.parser import VERBS

    if shell == "fish":
        (offered,) = fish_offers([""], tmp_path)
    else:
        (shown,) = typed(shell, [""], tmp_path, "\t\t")
        offered = set(shown.replace("\\ ", " ").replace("--", " ").split())
    assert offered >= {*VERBS, "demo.json"}, offered


@pytest.mark.parametrize("words", [(), ("tcsh",), ("bash", "zsh")])
def test_another_shell_is_refused(words):
    done = offpipe("completion", *words)
    assert (done.returncode, done.stdout) == (2, "") and "see offpipe completion --help" in done.stderr


def test_without_shtab_it_says_what_to_install(tmp_path):
    (tmp_path / "shtab.py").write_text("raise ModuleNotFoundError(name='shtab')")
    done = offpipe("completion", "bash", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs shtab, which is not installed\nhint: pip install 'DIR[completion]'" in done.stderr


# ---- shells ----------------------------------------------------------------------------------------------------------


def fish_offers(lines, directory):
    """Return the set of words that fish offers for each line."""
    program = "source offpipe.script; for line in $argv; complete -C $line; echo; end"
    command = ["fish", "--no-config", "-c", program, *(f"offpipe {line}" for line in lines)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    offers = done.stdout.split("\n\n")[: len(lines)]
    return [{offer.partition("\t")[0] for offer in offer.splitlines()} for offer in offers]


def fish_completes(line, offers):
    """Return the line with its last word completed by the only offer that fits."""
    last = line.rsplit(maxsplit=1)[-1]
    (offered,) = (offer for offer in offers if offer.startswith(last))
    return line.removesuffix(last) + offered.replace("\\ ", " ").rstrip("/")


def typed(shell, lines, directory, tabs="\t"):
    """Type each line and Tab; return each completed line, or for more than one Tab what the shell lists."""
    command, setup = SETUP[shell]
    env = {**os.environ, "TERM": "dumb", "PS1": "> ", "HOME": str(directory), "COLUMNS": "200", "HISTFILE": ""}
    terminal, inner = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), inner)
    process = subprocess.Popen(["setsid", "--ctty", *command], cwd=directory, env=env, **streams)
    os.close(inner)
    results = []
    try:
        os.write(terminal, f"{setup}; PROMPT='> '; echo rea''dy\n".encode())
        read_to(terminal, b"ready\r\n")
        for line in lines:
            # Ctrl-A goes to the start of the line, Ctrl-E to its end: `echo` prints the completed words.
            os.write(terminal, f"offpipe {line}{tabs}\x01echo \"<\"'' \x05 \">\"''\n".encode())
            shown = read_to(terminal, b" >\r\n").decode()
            completed = shown.rpartition("\n< offpipe ")[2].partition(" >\r\n")[0].rstrip(" /")
            results.append(shown if len(tabs) > 1 else completed)
    finally:
        os.close(terminal)  # HUP ends the shell
        process.wait(PATIENCE)
    return results


def read_to(terminal, mark):
    shown, deadline = b"", time.monotonic() + PATIENCE
    while mark not in shown:
        assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0], shown
        shown += os.read(terminal, 1 << 16)
    return shown
