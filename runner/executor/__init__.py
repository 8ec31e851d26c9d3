"""Runs the stages: starts and retries their attempts, and publishes their outputs."""
