"""Measures the runner beside other tools on the machine at hand: `python -m benchmarks [--quick] [NAME...]`."""
