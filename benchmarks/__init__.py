"""Measures the runner beside other tools on this machine: `python -m benchmarks [--quick] [NAME...]`."""
