"""The JSON Schema of a spec, for editors and other tools: draft 2020-12, from the table of fields.

It says what can be said of a value by itself. What names refer to, and where paths lead, only loading tells; and to
JSON Schema 3.0 is an integer, while a spec has to write 3.
"""

from __future__ import annotations

import json

from runner.spec.fields import SPEC


def json_schema() -> dict[str, object]:
    """Return the schema as a JSON value."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "offpipe pipeline, version 1",
        **SPEC.schema(),
    }


def schema_text() -> str:
    """Return the schema as the text that `schema` prints and docs/spec-v1.schema.json holds."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=True) + "\n"
