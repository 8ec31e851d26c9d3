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
        from runner.contain.zygote import Zygote, leave_threads

        leave_threads()
        zygote = Zygote(loaded, importers)
    else:
        sys.path.append(__file__.rpartition("/runner/contain/")[0])  # -I -S leave only the standard library
    from runner.contain.child import Forked
    from runner.contain.launcher import main

    try:
        main(zygote)
    except Forked as forked:
        script = forked.script
        script.came_by = forked
    code = script.compiled()
    try:
        exec(code, script.namespace)  # noqa: S102 - what it was forked for
    except SystemExit as ended:
        if script.ending:
            script.leave(ended.code if type(ended) is SystemExit else ended)
        raise
    except BaseException as error:
        script.disown(error)
        raise
    if script.ending:
        script.leave(0)
