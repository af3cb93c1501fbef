"""The three stages of a build, each in parts that any process can make: index, deal, gather."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.shards.build import Building, Dealt, deal, write_shard
from dp3d_data.shards.files import read_arrow
from dp3d_data.shards.index import Trim, write_index
from dp3d_data.shards.plan import PlannedShard
from pipelines.parts import Advance


class Stage(Enum):
    """INDEX reads what a build decides on; DEAL gives the rows of a partition to their row groups; GATHER writes a
    shard."""

    INDEX = "index"
    DEAL = "deal"
    GATHER = "gather"


@dataclass(frozen=True)
class StageJob:
    """What every process must know; see `pipelines.parts.Job`. A part is one Partition, in GATHER one PlannedShard.

    Attributes:
        num_pieces: of all inputs.
        trim: the filters of vertices; its area shares are those of all template vertices.
        patches: of the template, where near-duplicates are looked for.
    """

    out: Path
    recipe: str
    stage: Stage
    num_pieces: int
    trim: Trim
    patches: Float[np.ndarray, "K P"] | None = None

    @property
    def num_vertices(self) -> int:
        return len(self.trim.area_shares)

    def start(self) -> StageParts:
        """Nothing to load."""
        return StageParts(self)


class StageParts:
    """Makes the parts of a stage; see `pipelines.parts.PartMaker`."""

    def __init__(self, job: StageJob) -> None:
        self.job, self.building = job, Building(job.out, job.recipe)

    def probe(self, one: Any) -> None:
        """No partition and no shard can be left out, so none is to blame."""

    def make(self, index: int, part: Sequence[Any], advance: Advance, lost: Collection[int] = ()) -> None:
        """Make one index, one dealt partition, or one shard."""
        job, building = self.job, self.building
        for one in part:
            if job.stage is Stage.INDEX:
                write_index(building.index_path(index), one, job.num_vertices, job.trim, job.patches)
            elif job.stage is Stage.DEAL:
                deal(one, read_arrow(building.places_path(index)), building.rows_path(index), job.trim)
            else:
                self._gather(one)
        advance(len(part), 0, 0)

    def _gather(self, shard: PlannedShard) -> None:
        groups = (self._dealt.gather(shard.first + number, rows) for number, rows in enumerate(shard.rows))
        entry, statistics = write_shard(self.job.out / shard.name, shard.split, groups, self.job.num_vertices)
        self.building.note(entry, statistics.state())

    @cached_property
    def _dealt(self) -> Dealt:
        return Dealt([self.building.rows_path(number) for number in range(self.job.num_pieces)])
