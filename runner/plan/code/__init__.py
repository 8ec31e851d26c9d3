"""The code of a stage: what its command starts, every local module that this imports, and what it may not import."""
