"""The verbs beside `run`, without a terminal: they plan, look back, and clean up.

A run never imports this room. Each verb is a function that takes a spec's path and the options, and returns a value;
`cli` prints it. Begin here for a new verb.
"""
