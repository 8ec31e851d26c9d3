"""What tests and checks do to stages: faults by a plan, and disks that are full."""
