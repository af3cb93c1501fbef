"""The three stages of a build, each in parts that any process can make: index, deal, gather."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path

from dp3d_data.shards.building import Building
from dp3d_data.shards.files import read_arrow
from dp3d_data.shards.index import write_index
from dp3d_data.shards.inputs import Piece
from dp3d_data.shards.layout import PlannedShard
from dp3d_data.shards.shuffle import Dealt, deal
from dp3d_data.shards.writer import write_shard
from pipelines.parts import Advance


class Stage(Enum):
    """INDEX reads what a build decides on; DEAL gives the rows of a piece to their row groups; GATHER writes a shard."""

    INDEX = "index"
    DEAL = "deal"
    GATHER = "gather"


@dataclass(frozen=True)
class StageJob:
    """What every process must know; see `pipelines.parts.Job`."""

    out: Path
    recipe: str
    stage: Stage
    pieces: tuple[Piece, ...] = field(repr=False)
    shards: tuple[PlannedShard, ...] = field(repr=False)
    num_vertices: int

    def start(self) -> StageParts:
        """Nothing to load."""
        return StageParts(self)


class StageParts:
    """Makes the parts of a stage; see `pipelines.parts.PartMaker`."""

    def __init__(self, job: StageJob) -> None:
        self.job, self.building = job, Building(job.out, job.recipe)

    def make(self, index: int, advance: Advance) -> None:
        """Make one index, one dealt piece, or one shard."""
        job, building = self.job, self.building
        if job.stage is Stage.INDEX:
            write_index(building.index_path(index), job.pieces[index], job.num_vertices)
        elif job.stage is Stage.DEAL:
            deal(job.pieces[index], read_arrow(building.places_path(index)), building.rows_path(index))
        else:
            self._gather(job.shards[index])
        advance(1, 0, 0)

    def _gather(self, shard: PlannedShard) -> None:
        groups = (self._dealt.gather(shard.first + number, rows) for number, rows in enumerate(shard.rows))
        entry, statistics = write_shard(self.job.out / shard.name, shard.split, groups, self.job.num_vertices)
        self.building.note(entry, statistics.state())

    @cached_property
    def _dealt(self) -> Dealt:
        return Dealt([self.building.rows_path(number) for number in range(len(self.job.pieces))])
