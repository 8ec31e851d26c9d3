"""The spec: read once, checked completely, and its graph of stages."""
