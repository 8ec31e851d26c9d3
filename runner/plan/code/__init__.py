"""The code of a stage: the Python that its command starts, the local modules that this imports, and banned imports.

A closed room: `component` answers for a stage. Read it only if you work on what belongs to a key, or on bans.
"""
