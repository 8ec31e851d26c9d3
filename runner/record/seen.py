"""What was met on the way along very many records, so that it is known when it comes again."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from runner.hashing import hasher


class Seen:
    """A set of texts of which 8 bytes each are kept: enough to tell them apart, and little for very many."""

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(256)]

    def add(self, text: str) -> bool:
        """Add a text; False when it was there already."""
        number, bucket = self._place(text)
        at = bisect_left(bucket, number)
        if at < len(bucket) and bucket[at] == number:
            return False
        bucket.insert(at, number)
        return True

    def __contains__(self, text: object) -> bool:
        number, bucket = self._place(str(text))
        at = bisect_left(bucket, number)
        return at < len(bucket) and bucket[at] == number

    def _place(self, text: str) -> tuple[int, array[int]]:
        digest = hasher(text.encode("utf-8", "backslashreplace")).digest()
        return int.from_bytes(digest[:8], "big"), self._buckets[digest[8]]
