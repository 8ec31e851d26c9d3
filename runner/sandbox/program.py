"""The program that the client starts: it becomes the launcher and, in a fork of a warm one, the code of a stage.

`python -I -S program.py LEVEL RUNNER_PID` in an empty environment; or with `warm` as stages are started, by
`python -B`, in what of their environment interpreters heed. It stands at the bottom of the stack of a stage's code,
which can see it there, and so holds as little as it can.
"""

import sys

if __name__ == "__main__":
    server = None
    if "warm" in sys.argv[3:]:
        del sys.path[0]  # the directory of this file
        from runner.sandbox.forkserver import ForkServer, leave_threads

        leave_threads()
        server = ForkServer()
    else:
        sys.path.append(__file__.rpartition("/runner/sandbox/")[0])  # -I -S leave only the standard library
    from runner.sandbox.child import Forked
    from runner.sandbox.launcher import main

    try:
        main(server)
    except Forked as forked:
        (program,) = forked.args
        program.came_by = forked
    program.run()
