"""The state of a pipeline on disk: state files, the audit log, locks, and recovery from a run that died.

Part of the story, without `seal` and `signatures`. Its formats are documented in docs/on-disk.md and docs/audit.md, so
change them only together. Only `files` and `removal` write.
"""
