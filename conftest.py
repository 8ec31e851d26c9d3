"""Settings for every test; what one directory needs is in the conftest.py there."""

pytest_plugins = ["pytester"]
