"""The terminal: what users read of plans, runs and errors. Nothing in here decides anything, or raises into a run."""
