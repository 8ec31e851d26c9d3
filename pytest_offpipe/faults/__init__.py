"""Faults that tests and checks inject into stages: by a plan, and by disks that are full."""
