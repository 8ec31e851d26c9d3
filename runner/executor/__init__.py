"""The story of a run: which stage starts when, what becomes of its attempts, and how its outputs are published."""
