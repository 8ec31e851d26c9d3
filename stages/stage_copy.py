"""Copies its input, any number of files in order, into its one output, byte for byte; resumes after a kill."""

from __future__ import annotations

from runner import sdk


def main() -> None:
    with sdk.stage() as stage:
        stage.take_params()
        with stage.blocks(stage.sole_input, to=stage.sole_output) as job:
            for block in job:
                job.write(block)


if __name__ == "__main__":
    main()
