"""Faults that tests and checks inject into stages, by a plan or by a full disk."""
