"""`python -m runner`, and the console script `offpipe`: the quick way where there is nothing to do, else the verbs."""

from __future__ import annotations

import sys

from runner.errors import OffpipeError
from runner.quick import answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # `signal` itself builds enums, which takes as long as a run with nothing to do


def main() -> int:
    """Do what the command line asks for and return the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a run hears signals there is nothing to tell, nor to lose
    try:
        code = answer(sys.argv[1:])
    except OffpipeError as error:
        from runner.cli import report

        code = report(error)
    if code is None:
        from runner.cli import main as perform

        code = perform()
    return code


if __name__ == "__main__":
    sys.exit(main())
