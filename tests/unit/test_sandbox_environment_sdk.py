"""What a launcher of Python stages is started in."""

import os
import sys

from runner.sandbox.environment import editable_mappings, sdk_path

STANDARD = ("/usr/lib/python311.zip", "/usr/lib/python3.11", "/usr/lib/python3.11/lib-dynload")


def test_an_installed_package_needs_no_pythonpath():
    path = ["/cwd", *STANDARD, "/venv/site-packages", "/src/from-a-pth-file"]
    assert sdk_path("/venv/site-packages", path, standard_library=STANDARD) is None
    assert sdk_path("/src/from-a-pth-file", path, standard_library=STANDARD) is None


def test_what_only_this_process_has_on_its_path_is_passed_on():
    path = ["/checkout", *STANDARD, "/venv/site-packages"]
    assert sdk_path("/checkout", path, standard_library=STANDARD) == "/checkout"
    assert sdk_path("/elsewhere", path, standard_library=STANDARD) == "/elsewhere"
    assert sdk_path("/checkout", ["/checkout"], standard_library=STANDARD) == "/checkout"


def test_an_editable_finder_provides_the_package():
    finder = type(sys)("__editable___pytest_offpipe_0_1_finder")
    finder.MAPPING = {"runner": "/checkout/runner"}
    mappings = editable_mappings({finder.__name__: finder, "os": os})
    assert sdk_path("/checkout", ["/checkout", *STANDARD], standard_library=STANDARD, editable=mappings) is None
    assert sdk_path("/other", ["/other", *STANDARD], standard_library=STANDARD, editable=mappings) == "/other"
