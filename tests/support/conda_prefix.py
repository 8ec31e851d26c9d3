"""Installs a package that it builds itself into a conda prefix, as conda does, by rattler and without a channel.

    python conda_prefix.py DIRECTORY PREFIX VERSION

The package `tool` has a program and a Python distribution. DIRECTORY is for the package and the cache.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

import rattler
from rattler.package.build_string import BuildString

SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def build(directory: Path, version: str) -> Path:
    """Write the package, and return its path."""
    info = f"{SITE}/tool-{version}.dist-info"
    files = {
        "bin/tool": f"#!/bin/sh\necho tool {version}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tool\nVersion: {version}\n",
        f"{info}/RECORD": f"tool-{version}.dist-info/METADATA,,\ntool-{version}.dist-info/RECORD,,\n",
    }
    paths = [
        {"_path": path, "path_type": "hardlink", "sha256": digest(text.encode()).hex(), "size_in_bytes": len(text)}
        for path, text in files.items()
    ]
    about = {"name": "tool", "version": version, "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64"}
    files |= {"info/index.json": json.dumps(about), "info/files": "\n".join(files) + "\n"}
    files["info/paths.json"] = json.dumps({"paths": paths, "paths_version": 1})
    package = directory / f"tool-{version}-0.tar.bz2"
    with tarfile.open(package, "w:bz2") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(text), 0o755 if path.startswith("bin/") else 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return package


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


async def install(directory: Path, prefix: str, version: str) -> None:
    package = build(directory, version)
    record = rattler.PackageRecord(
        "tool", version, BuildString("0"), 0, "linux-64", sha256=digest(package.read_bytes())
    )
    found = rattler.RepoDataRecord(record, package.name, package.as_uri(), directory.as_uri())
    await rattler.install([found], prefix, directory / "cache", show_progress=False)


if __name__ == "__main__":
    asyncio.run(install(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
    os._exit(0)  # its threads may abort an interpreter that ends
