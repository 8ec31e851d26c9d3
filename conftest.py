"""Settings for every test; what one directory needs is in the conftest.py there.

The checks of pipelines/*.json are tests of the project as well: `offpipe_specs` in pyproject.toml brings them in.
"""

pytest_plugins = ["pytester"]
