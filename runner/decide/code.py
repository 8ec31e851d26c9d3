"""The `code` component of a stage: its processor, what its command names under root, and all that these import."""

from __future__ import annotations
