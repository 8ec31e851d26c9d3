"""The program that `launcher` starts. It becomes the launcher and, in a fork of a fork server, the code of a stage.

The command is `python -I -S program.py LEVEL RUNNER_PID`, in an empty environment. The word `views` after these lets it
find out whether sealed stages get views. With the word `forkserver` it is `python -B`, with the variables of the
stages' environment that interpreters read. A stage's code can see this file at the bottom of its stack, so it holds as
little as possible.
"""

import sys

if __name__ == "__main__":
    server = None
    if "forkserver" in sys.argv[3:]:
        del sys.path[0]  # the directory of this file
        from runner.sandbox.forkserver import ForkServer, leave_threads

        leave_threads()
        server = ForkServer()
    else:
        sys.path.append(__file__.rpartition("/runner/sandbox/")[0])  # -I -S leave only the standard library
    from runner.sandbox.child import Forked
    from runner.sandbox.service import main

    try:
        main(server)
    except Forked as forked:
        (program,) = forked.args
        program.launcher_frames = forked
    program.run()
