"""The code of a stage: the Python that its command starts, the local modules that this imports, and banned imports."""
