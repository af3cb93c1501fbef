"""docs/shards.md shows the schema as it is."""

import pytest

from dp3d_data.shards.schema import FAILURE_COLUMNS, INSTANCE_COLUMNS, REJECT_COLUMNS, SCHEMA_VERSION
from tests.shared import ROOT


def schema_markdown(columns: tuple) -> str:
    """The columns as a table of docs/shards.md."""
    lines = ["| column | type | null | meaning | unit | step in shards |", "|---|---|---|---|---|---|"]
    for c in columns:
        single = c.type.value_type if c.is_list else c.type
        kind = {"float": "float32", "double": "float64"}.get(str(single), str(single))
        kind = f"list of {kind}" if c.is_list else kind
        lines.append(
            f"| `{c.name}` | {kind} | {'yes' if c.nullable else ''} | {c.text} | {c.unit} | {c.notes.get('step', '')} |"
        )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("columns", [INSTANCE_COLUMNS, FAILURE_COLUMNS, REJECT_COLUMNS])
def test_tables_are_those_of_the_schema(columns):
    text = (ROOT / "docs" / "shards.md").read_text(encoding="utf-8")
    assert schema_markdown(columns) in text, "replace the table in docs/shards.md by the output of schema_markdown"
    assert f"Schema version {SCHEMA_VERSION}." in text
