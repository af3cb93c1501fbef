"""The sections of the page that account for things: where every input went, what failed, what the shards were made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from dp3d_data.shards.runs import Run
from pipelines.report import charts, page
from pipelines.report.facts import NAMES
from pipelines.report.markup import joined
from pipelines.report.pictures import shown_file

# Reasons for leaving an instance out, in the order of their colours.
_SHADES = ("#d97706", "#f59e0b", "#b45309", "#fbbf24", "#92400e", "#fcd34d", "#78350f", "#fde68a")


def name_of(run: Run) -> str:
    return NAMES.get(run.kind, run.kind)


def overview(runs: Sequence[Run], manifest: Mapping[str, Any] | None) -> Markup:
    """What came out, and what became of every instance on the way."""
    counts = {name: sum(run.counts[name] for run in runs) for name in ("inputs", "instances", "rejects", "failures")}
    numbers = {"inputs": counts["inputs"], "instances": counts["instances"], "rejected": counts["rejects"], "failed": counts["failures"]}
    parts = [page.cards(numbers)] if manifest is None and runs else []
    if manifest is not None:
        account = manifest["account"]
        numbers = {"instances": account["inputs"], "left out": sum(account["rejected"].values())}
        sides = {f"in {name}": split["instances"] for name, split in manifest["splits"].items()}
        parts.append(page.cards(numbers | sides | {"groups": sum(split["groups"] for split in manifest["splits"].values())}))
    for run in runs:
        counts, unit = run.counts, "images" if run.kind == "extract" else "samples"
        reasons = Counter(run.rejects().column("reason").to_pylist())
        bar = {"instances": (counts["instances"], charts.KEPT)} | _shaded(reasons) | {"failed": (counts["failures"], charts.FAILED)}
        parts.append(page.titled(f"{name_of(run).capitalize()}: {counts['inputs']:,} {unit}", charts.flow(bar)))
    if manifest is not None:
        splits = zip(manifest["splits"].items(), (charts.KEPT, "#34d399", "#6ee7b7"), strict=False)
        bar = {f"in {name}": (split["instances"], colour) for (name, split), colour in splits}
        title = f"Shards: {manifest['account']['inputs']:,} instances"
        parts.append(page.titled(title, charts.flow(bar | _shaded(Counter(manifest["account"]["rejected"])))))
    return joined(parts, "\n")


def _shaded(reasons: Counter[str]) -> dict[str, tuple[int, str]]:
    """The most frequent reason first, then by name, each with a colour."""
    ranked = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return {name: (count, _SHADES[index % len(_SHADES)]) for index, (name, count) in enumerate(ranked)}


def overlays(runs: Sequence[Run], limit: int) -> Markup:
    """Whole photographs with their keypoints, as extract has drawn them."""
    shown = [path for run in runs for path in run.overlays][:limit]
    return page.grid((page.figure(shown_file(path, 900).address, "" if path.stem.isdigit() else path.stem) for path in shown), 340)


def problems(runs: Sequence[Run], limit: int = 100) -> Markup:
    """Images that failed, with the reason, and instances that were rejected."""
    parts = []
    for run in runs:
        failures, rejects = run.failures().to_pylist(), run.rejects().to_pylist()
        if failures:
            rows = [[row["image_id"], row["stage"], row["error"], row["message"]] for row in failures[:limit]]
            table = page.table(["image", "stage", "error", "message"], rows)
            parts.append(page.titled(f"Failed {name_of(run)}: {len(failures)}", table))
        if rejects:
            values = ("" if row["value"] is None else charts.number(row["value"]) for row in rejects[:limit])
            rows = [[row["instance_id"], row["reason"], value] for row, value in zip(rejects, values, strict=False)]
            title = f"Rejected {name_of(run)}: {len(rejects)}" + (f", the first {limit} shown" if len(rejects) > limit else "")
            parts.append(page.folded(title, page.table(["instance", "reason", "value"], rows)))
    return joined(parts, "\n") or Markup("<p>Nothing failed, nothing was rejected.</p>")


def origin(manifest: Mapping[str, Any]) -> Markup:
    """What the shards were made of and with, and every file with its hash."""
    template = manifest["template"]
    facts = {
        "recipe": manifest["recipe"],
        "schema version": manifest["schema_version"],
        "template": f"{template['name']} · {template['num_vertices']:,} vertices · {template['hash']}",
        "unit": template["unit"] if template["unit"] == "unknown" else f"1 template unit = {template['factor']:.4g} {template['unit']}",
    }
    settings = {name.replace("_", " "): value for name, value in _leaves(manifest["settings"])}
    entries = [[e["name"], f"{e['instances']:,}", f"{e['bytes'] / 1e6:,.1f} MB", e["sha256"][:16]] for e in manifest["shards"]]
    files = page.table(["file", "instances", "size", "SHA-256"], entries)
    return page.table(["", ""], list(facts.items())) + page.folded("Settings", page.table(["", ""], list(settings.items()))) + page.folded(
        f"Files: {len(entries)}", files
    )


def _leaves(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Settings without their groups."""
    found: list[tuple[str, Any]] = []
    for name, value in settings.items():
        found += _leaves(value) if isinstance(value, Mapping) else [(name, value)]
    return found
