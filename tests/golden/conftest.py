from __future__ import annotations

from launchers import workers

__all__ = ["workers"]
