"""`python -m runner`: the same as the console script `offpipe`."""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a run hears signals there is nothing to tell, nor to lose

from runner.cli import main

if __name__ == "__main__":
    sys.exit(main())
