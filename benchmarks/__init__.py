"""Measures offpipe beside other tools: `python -m benchmarks`. See docs/benchmarks.md."""
