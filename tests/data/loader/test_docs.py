"""docs/shards.md: its Python snippets run, one after the other, on shards that lie where it says."""

import pytest

from tests.data.loader.samples import shards_in
from tests.house.documents import blocks
from tests.shared import ROOT


@pytest.mark.slow
def test_the_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shards_in(tmp_path / "dp3d-out" / "dog")
    names: dict = {}
    found = [block for block in blocks(ROOT / "docs" / "shards.md") if block.info == "python"]
    for block in found:
        exec(compile(block.text, str(block), "exec"), names)  # the page is ours
    assert len(found) >= 4 and len(names["several"]) == 3
