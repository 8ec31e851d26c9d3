"""The package `runner` for a Python of another environment.

PYTHONPATH names the directory above this one. Nothing else is in it, so no other package that is installed beside
offpipe gets in the way of those of the environment.
"""

import os

__path__ = [os.path.abspath(f"{__file__}/../../../..")]
