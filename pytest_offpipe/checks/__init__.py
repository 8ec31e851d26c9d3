"""The checks of stages and pipelines: each proves one thing, or says why it could not."""
