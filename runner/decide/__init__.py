"""What must run, and why: pure of writes; the dry run and the executor share it."""
