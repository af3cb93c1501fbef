"""The dataset card of a shard folder: README.md as the Hugging Face hub reads it, filled from the manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp3d_data.files import write_whole
from dp3d_data.shards.schema import INSTANCE_COLUMNS
from pipelines.report.page import number

CARD = "README.md"
# Names of the hub for a number of rows below each power of ten.
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
_HUB_NAMES = {"val": "validation"}
_SHOWN = ("score", "visible_area", "spread", "pixel_counts", "keypoints_x", "keypoints_y", "true_scale")


def card(manifest: Mapping[str, Any], title: str, licence: str) -> str:
    """The card's text: front matter, counts, how to read it, columns, origin; a function of the manifest alone."""
    sections = [
        _front_matter(manifest, title, licence),
        f"# {_plain(title)}\n\n{_summary(manifest)}",
        _splits(manifest),
        _reading(manifest),
        _columns(),
        _statistics(manifest),
        _origin(manifest),
    ]
    return "\n".join(sections)


def write_card(folder: Path, manifest: Mapping[str, Any], title: str, licence: str) -> Path:
    """Write the card beside the shards."""
    text = card(manifest, title, licence).encode("utf-8", "replace")
    return write_whole(folder / CARD, lambda stream: stream.write(text))


def _front_matter(manifest: Mapping[str, Any], title: str, licence: str) -> str:
    total = sum(split["instances"] for split in manifest["splits"].values())
    size = _SIZES[min(max(len(str(total)) - 3, 0), len(_SIZES) - 1)]
    lines = ["---", f"pretty_name: {_quoted(title)}", f"license: {_quoted(licence)}", "task_categories:", "- keypoint-detection"]
    lines += ["tags:", "- dense-pose", "- 3d", "- mesh", f"- {_quoted(manifest['category'])}", "size_categories:", f"- {size}"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for name in manifest["splits"]:
        lines += [f"  - split: {_word(_HUB_NAMES.get(name, name))}", f"    path: {_word(name + '-*.parquet')}"]
    lines += ["dataset_info:", "  config_name: default", "  splits:"]
    for name, split in manifest["splits"].items():
        lines += [f"  - name: {_word(_HUB_NAMES.get(name, name))}", f"    num_examples: {split['instances']}"]
    return "\n".join([*lines, "---", ""])


def _quoted(text: str) -> str:
    """A YAML string in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _word(text: str) -> str:
    """A name in YAML: in quotes where it is more than a word."""
    return text if re.fullmatch(r"[A-Za-z][\w-]*", text) else _quoted(text)


def _plain(text: object) -> str:
    """A name in Markdown: nothing in it is a tag, a cell, code or a line."""
    return re.sub(r"[<>&|`\\\s]+", " ", str(text))


def _summary(manifest: Mapping[str, Any]) -> str:
    template, tally = manifest["template"], manifest["account"]
    unit = "" if template["unit"] == "unknown" else f" One template unit is {template['factor']:.4g} {_plain(template['unit'])}."
    reasons = ", ".join(f"{_plain(reason)} {count:,}" for reason, count in tally["rejected"].items())
    return (
        f"2D keypoints on a template mesh: each instance lists the visible vertices of the template `{_plain(template['name'])}` "
        f"({template['num_vertices']:,} vertices, content hash `{_plain(template['hash'])}`) with their mean pixel positions.{unit} "
        f"Of {tally['inputs']:,} instances {tally['kept']:,} were kept; left out: {reasons or 'none'}.\n"
    )


def _splits(manifest: Mapping[str, Any]) -> str:
    sizes = {name: sum(e["bytes"] for e in manifest["shards"] if e["split"] == name) for name in manifest["splits"]}
    lines = ["## Splits", "", "| split | instances | groups | shards | MB |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {_plain(name)} | {split['instances']:,} | {split['groups']:,} | {split['shards']:,} | {sizes[name] / 1e6:,.1f} |"
        for name, split in manifest["splits"].items()
    ]
    apart = manifest["settings"].get("together", "group") == "group"
    kept = "No group (video, breed, subject) and no image lies in two splits." if apart else "No image lies in two splits; groups may."
    return "\n".join([*lines, "", kept, ""])


def _reading(manifest: Mapping[str, Any]) -> str:
    split = _plain(next(iter(manifest["splits"]))).replace('"', " ")
    return f"""## Reading

Plain Parquet, so that everything reads it:

```python
import pandas

rows = pandas.read_parquet("{split}-00000.parquet")
rows.loc[0, ["vertex_ids", "keypoints_x", "keypoints_y"]]
```

As tensors for torch, each file checked against its hash:

```python
from dp3d_data.loader import Loader

for batch in Loader(".", "{split}", batch_size=64):
    batch.keypoints, batch.visible  # [B, K, 2] image pixels, [B, K]
```

`template.npz` holds the mesh, `basis.npz` its Laplace-Beltrami functions, `manifest.json` every file's SHA-256.
Keypoints are image pixels, x right, y down; pixel (0, 0) has its centre at (0.5, 0.5). No normalisation is applied.
"""


def _columns() -> str:
    lines = ["## Columns", "", "| column | meaning | unit |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{c.name}` | {c.text} | {c.unit} |" for c in INSTANCE_COLUMNS), ""])


def _statistics(manifest: Mapping[str, Any]) -> str:
    lines = ["## Statistics", "", "| column | min | mean | max | standard deviation |", "|---|---:|---:|---:|---:|"]
    for name in _SHOWN:
        found = manifest["statistics"].get(name, {})
        if "mean" in found:
            lines.append(f"| `{name}` | " + " | ".join(number(found[key]) for key in ("min", "mean", "max", "std")) + " |")
    return "\n".join([*lines, ""])


def _origin(manifest: Mapping[str, Any]) -> str:
    lines = ["## Origin", "", f"Built by dp3d, schema version {manifest['schema_version']}, recipe `{_plain(manifest['recipe'])}`, from"]
    lines += ["", "| run | recipe | inputs | instances | rejected | failed |", "|---|---|---:|---:|---:|---:|"]
    for run in manifest["inputs"]:
        counts = run.get("counts", {})
        cells = (f"{counts.get(name, 0):,}" for name in ("inputs", "instances", "rejects", "failures"))
        lines.append(f"| {_plain(run['kind'])} | `{_plain(run['recipe'])}` | " + " | ".join(cells) + " |")
    lines += ["", "The licence of the photographs and annotations behind the keypoints is that of their publishers.", ""]
    return "\n".join(lines)
