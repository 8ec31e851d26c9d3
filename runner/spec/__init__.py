"""The spec: read once, checked completely, and its graph of stages.

Part of the story, without `each`. A new field begins in `fields` and `model`.
"""
