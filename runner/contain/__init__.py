"""How a program is started and kept in."""
