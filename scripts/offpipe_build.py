"""The build backend (PEP 517 and 660), so that a checkout installs itself where there is no index.

Wheels and sdists are hatchling's work, which is asked for only then. The editable wheel is made here, from the standard
library alone: a `.pth` file that names the checkout, and the metadata of pyproject.toml.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import os
import tomllib
import zipfile

HATCHLING = "hatchling>=1.27"  # the first that writes `License-Expression`
FIXED_TIME = (1980, 2, 1, 0, 0, 0)  # the same checkout gives the same wheel


def get_requires_for_build_wheel(config_settings: dict[str, object] | None = None) -> list[str]:  # noqa: ARG001 - PEP 517
    return [HATCHLING]


def get_requires_for_build_sdist(config_settings: dict[str, object] | None = None) -> list[str]:  # noqa: ARG001 - PEP 517
    return [HATCHLING]


def get_requires_for_build_editable(config_settings: dict[str, object] | None = None) -> list[str]:  # noqa: ARG001 - PEP 660
    return []


def build_wheel(directory: str, config_settings: dict[str, object] | None = None, metadata: str | None = None) -> str:
    from hatchling import build

    return str(build.build_wheel(directory, config_settings, metadata))


def build_sdist(directory: str, config_settings: dict[str, object] | None = None) -> str:
    from hatchling import build

    return str(build.build_sdist(directory, config_settings))


def build_editable(
    directory: str,
    config_settings: dict[str, object] | None = None,  # noqa: ARG001 - PEP 660
    metadata: str | None = None,  # noqa: ARG001 - PEP 660
) -> str:
    """Write the editable wheel of the checkout that is the current directory (as PEP 517 has it); return its name."""
    checkout = os.getcwd()
    with open("pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    version = read_version("runner/__init__.py")
    stem = f"{project['name'].replace('-', '_')}-{version}"
    content = {
        f"__editable__.{stem}.pth": os.fsencode(checkout) + b"\n",
        f"{stem}.dist-info/METADATA": metadata_text(project, version).encode(),
        f"{stem}.dist-info/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: offpipe_build\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
        f"{stem}.dist-info/entry_points.txt": entry_points_text(project).encode(),
    }
    record = f"{stem}.dist-info/RECORD"
    content[record] = record_text(content, record).encode()
    name = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in content.items():
            member = zipfile.ZipInfo(path, FIXED_TIME)
            member.external_attr = 0o644 << 16
            wheel.writestr(member, data)
    return name


def read_version(path: str) -> str:
    """The value of `__version__` in the Python file at `path`, which is not run."""
    with open(path, "rb") as file:
        tree = ast.parse(file.read())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    raise SystemExit(f"error: {path}: no __version__")


def metadata_text(project: dict[str, object], version: str) -> str:
    """What installers read: name, version, Python, dependencies (core metadata 2.1); the rest is in the real wheel."""
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {version}"]
    lines += [f"Summary: {project['description']}", f"Requires-Python: {project['requires-python']}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in strings(project["dependencies"])]
    extras = project.get("optional-dependencies", {})
    assert isinstance(extras, dict)
    for extra, requirements in extras.items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {with_extra(requirement, extra)}" for requirement in strings(requirements)]
    return "\n".join(lines) + "\n"


def with_extra(requirement: str, extra: str) -> str:
    """`requirement` with the marker `extra == "..."`, joined to the marker that it may have."""
    name, semicolon, marker = requirement.partition(";")
    condition = f'extra == "{extra}"'
    return f"{name.strip()}; ({marker.strip()}) and {condition}" if semicolon else f"{requirement}; {condition}"


def entry_points_text(project: dict[str, object]) -> str:
    groups = {"console_scripts": project.get("scripts", {})}
    declared = project.get("entry-points", {})
    assert isinstance(declared, dict)
    groups.update(declared)
    lines = []
    for group, points in groups.items():
        assert isinstance(points, dict)
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items()), ""]
    return "\n".join(lines)


def record_text(content: dict[str, bytes], record: str) -> str:
    lines = []
    for path, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}")
    return "\n".join([*lines, f"{record},,", ""])


def strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]
