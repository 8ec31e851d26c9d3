"""Puts text into upper case, block by block; resumes after a kill.

Params: `encoding` (default "utf-8"; "bytes" changes only a to z), and `simulateTransient`: the first attempt exits 75
behind its first block, to show a retry that resumes. Bytes that are no text in the encoding stay as they are.
"""

from __future__ import annotations

from runner import sdk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Data = TypeVar("Data", bytes, str)

ERRORS = "surrogateescape"
SIZE = 64 * 1024  # of a block; upper() needs 12 bytes a letter for a while, which should fit into the cache
PIECE = 128  # characters; a few lines
PROBED = 16  # of so many pieces one tells what the others are like


def main() -> None:
    with sdk.stage() as stage:
        params = stage.take_params(encoding="utf-8", simulateTransient=False)
        encoding = str(params["encoding"])
        fails = bool(params["simulateTransient"]) and stage.attempt == 1
        source, to = stage.sole_input, stage.sole_output
        if encoding == "bytes":
            convert(stage.blocks(source, to), bytes.upper, fails=fails)
        elif encoding.lower() in {"utf-8", "utf8"}:
            convert(stage.blocks(source, to, encoding=encoding, errors=ERRORS, size=SIZE), upper_text, fails=fails)
        else:
            job = stage.blocks(source, to, encoding=encoding, errors=ERRORS)
            convert(job, lambda text: upper_within(text, encoding), fails=fails)


def convert(job: sdk.Job[Data], upper: Callable[[Data], Data], *, fails: bool) -> None:
    """Write what `upper` makes of every block; with `fails`, raise Transient behind the first."""
    with job:
        for block in job:
            job.write(upper(block))
            if fails:
                job.checkpoint()  # what the next attempt goes on from
                break
        if fails:
            raise sdk.Transient("simulateTransient asks the first attempt to fail")


def upper_text(text: str) -> str:
    """The same as text.upper(), up to three times as fast where few letters are not ASCII.

    One letter beyond ASCII makes the whole str slow to convert, so it should not be in the same str as a megabyte; but
    where most pieces have one, taking the text apart costs more than it saves. Upper case looks at one letter at a time
    (lower case does not), so a text may be cut anywhere.
    """
    if text.isascii():
        return text.upper()
    probes = [text[at : at + PIECE].isascii() for at in range(0, len(text), PIECE * PROBED)]
    if 2 * sum(probes) < len(probes):
        return text.upper()
    return "".join([text[at : at + PIECE].upper() for at in range(0, len(text), PIECE)])


def upper_within(text: str, encoding: str) -> str:
    """Upper case, but for letters whose upper case the encoding lacks (in latin-1 the micro sign and y diaeresis)."""
    upper = text.upper()
    try:
        upper.encode(encoding, ERRORS)
    except UnicodeEncodeError:
        changed = {letter: letter.upper() for letter in set(text) if _fits(letter.upper(), encoding)}
        return "".join([changed.get(letter, letter) for letter in text])
    return upper


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding, ERRORS)
    except UnicodeEncodeError:
        return False
    return True


if __name__ == "__main__":
    main()
