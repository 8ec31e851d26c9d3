"""What is remembered: state files, the audit log, locks, and recovery from a run that died."""
