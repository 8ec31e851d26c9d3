"""What needs packages that a plain installation lacks: `cluster`, `report`, `completion`. Each extra has the same name.

Only `cli` imports this room, inside functions, so nothing else depends on these packages.
"""
