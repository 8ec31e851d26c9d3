"""Starts the programs of stages, times them, ends them and keeps them offline.

A closed room: the executor gives a `Launch` to the `Launcher`, and gets an `AttemptResult`. Only this room starts
processes. Read it only if you work on the guard, and then docs/internals/guard.md first.
"""
