"""Puts text into upper case, block by block; resumes after a kill.

Params: `encoding` (default "utf-8"; "bytes" changes only a to z), and `simulateTransient`: the first attempt exits 75
after its first block, to show a retry that resumes. Bytes that are not text in the encoding stay unchanged.
"""

from __future__ import annotations

from runner import sdk

ERRORS = "surrogateescape"


def main() -> None:
    with sdk.stage() as stage:
        params = stage.take_params(encoding="utf-8", simulateTransient=False)
        encoding = "ascii" if params["encoding"] == "bytes" else str(params["encoding"])
        fails = params["simulateTransient"] and stage.attempt == 1
        with stage.blocks(stage.sole_input, to=stage.sole_output, encoding=encoding, errors=ERRORS) as job:
            for block in job:
                job.write(upper(block, encoding))
                if fails:
                    job.checkpoint()  # the next attempt resumes here
                    break
            if fails:
                raise sdk.Transient("simulateTransient asks the first attempt to fail")


def upper(text: str, encoding: str) -> str:
    """Upper case; a letter whose upper case the encoding lacks (in latin-1 the micro sign) stays as it is."""
    try:
        (changed := text.upper()).encode(encoding, ERRORS)
    except UnicodeEncodeError:
        return text if len(text) == 1 else "".join([upper(letter, encoding) for letter in text])
    return changed


if __name__ == "__main__":
    main()
