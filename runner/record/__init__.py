"""The state of a pipeline on disk: state files, the audit log, locks, and recovery from a run that died."""
