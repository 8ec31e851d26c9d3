"""The checks of stages and pipelines. Each proves one thing, or says why it could not prove it."""
