"""What has to run, and why: decisions as values, made without changing anything."""
