"""docs/shards.md shows the schema as it is."""

import pytest

from dp3d_data.shards.schema import FAILURE_COLUMNS, INSTANCE_COLUMNS, REJECT_COLUMNS, SCHEMA_VERSION, schema_markdown
from tests.shared import ROOT


@pytest.mark.parametrize("columns", [INSTANCE_COLUMNS, FAILURE_COLUMNS, REJECT_COLUMNS])
def test_tables_are_those_of_the_schema(columns):
    text = (ROOT / "docs" / "shards.md").read_text(encoding="utf-8")
    assert schema_markdown(columns) in text, "replace the table in docs/shards.md by the output of schema_markdown"
    assert f"Schema version {SCHEMA_VERSION}." in text
