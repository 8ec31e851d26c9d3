"""What needs packages that a plain installation lacks: `cluster`, `report` and `completion`, each an extra of its name.

Only `cli` imports this room, inside functions, so nothing else depends on these packages.
"""
