"""How a program is started, timed, ended and kept offline."""
