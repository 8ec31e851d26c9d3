"""The program that the client starts: it becomes the launcher and, in a child of a warm one, the code of a stage.

`python -I -S program.py LEVEL RUNNER_PID [plain]` in an empty environment; or with `warm` as stages are started, by
`python -B`, in what of their environment interpreters heed. It stands at the bottom of the stack of a stage's code,
which can see it there, and so holds as little as it can.
"""

import sys

if __name__ == "__main__":
    zygote = None
    if "warm" in sys.argv[3:]:
        loaded, importers = frozenset(sys.modules), frozenset(sys.path_importer_cache)
        del sys.path[0]  # the directory of this file
        from runner.sandbox.zygote import Zygote, leave_threads

        leave_threads()
        zygote = Zygote(loaded, importers)
    else:
        sys.path.append(__file__.rpartition("/runner/sandbox/")[0])  # -I -S leave only the standard library
    from runner.sandbox.child import Forked
    from runner.sandbox.launcher import main

    try:
        main(zygote)
    except Forked as forked:
        script = forked.script
        script.came_by = forked
    program, over, exits = script.as_item(), False, True
    ended = None  # type: BaseException | None # an annotation would be made here
    # What a handler raises once the program is over is nobody's. It can do so at each call, and at each jump back, but
    # not between the end of a program that is run as an index, and what is next.
    try:
        try:
            over = program[0] is None
        except SystemExit as error:
            if not over and ended is None:
                ended = error
        except BaseException as error:  # noqa: BLE001 - it ends by that, below
            if not over and ended is None:
                ended, exits = error, False
    except BaseException:  # noqa: BLE001 - a handler's
        pass
    program = None
    if script.ending or not exits:
        try:
            ended = script.finish(ended, exits=exits)
        except BaseException:  # noqa: BLE001 - a handler's
            try:
                script.thaw()
            except BaseException:  # noqa: BLE001 - once more
                pass
    if ended is not None:
        trace = ended.__traceback__
        try:
            raise ended
        finally:
            ended.__traceback__ = trace
            del ended, trace  # what they hold is to end with the program
