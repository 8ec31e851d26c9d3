"""Starts the programs of stages, times them, ends them and keeps them offline."""
