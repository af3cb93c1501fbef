"""What became of every image of an extraction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dp3d_data.filters import Account
from dp3d_data.records import ImageRecord
from dp3d_data.shards import Run


@dataclass(frozen=True)
class Outcome:
    """What a finished run holds.

    Attributes:
        images: by fate: one with an instance is kept, of the others one with a failure has failed.
        instances, failures: rows of the tables; a failure is of an image, an annotation or a detection.
        rejects: rows by reason.
        turned: images that are kept and whose annotations were turned as EXIF turns the photograph.
        fresh: whether the run was made now.
    """

    run: Run
    images: Account
    instances: int
    rejects: dict[str, int]
    failures: int
    turned: int
    fresh: bool


def outcome(run: Run, records: Sequence[ImageRecord], fresh: bool) -> Outcome:
    """The account of a finished run of these images: every one is kept, failed, or rejected for its first reason.

    Raises:
        Unaccounted: images disappeared.
    """
    widths: dict[str, int] = {}
    for table in run.instances(["image_id", "image_width"]):
        widths.update(zip(table["image_id"].to_pylist(), table["image_width"].to_pylist(), strict=True))
    failures = run.failures()["image_id"].to_pylist()
    failed, rejects = set(failures) - set(widths), run.rejects()
    reasons: dict[str, str] = {}
    for image, reason in zip(rejects["image_id"].to_pylist(), rejects["reason"].to_pylist(), strict=True):
        if image not in widths and image not in failed:
            reasons.setdefault(image, reason)
    images = Account(len(records), len(widths), dict(Counter(reasons.values())), len(failed)).check()
    by_reason = Counter(rejects["reason"].to_pylist())
    turned = sum(one.size is not None and one.size[0] != widths.get(one.image_id, one.size[0]) for one in records)
    return Outcome(run, images, run.counts["instances"], dict(by_reason), len(failures), turned, fresh)
