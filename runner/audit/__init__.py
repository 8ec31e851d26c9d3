"""The auditor: reads what runs have written, checks it (`verify`), and states it for others (`export`). Writes nothing.

A run never imports this room, so a mistake here changes no output. What both sides must agree on, such as the form of
a record and of a signature, is in `record`.
"""
