"""Runs the stages: starts and retries their attempts, and publishes their outputs.

Part of the story. What a stage may change on disk goes through `attempts` and `publishing`.
"""
