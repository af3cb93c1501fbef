"""Datasets: one class each, made from `DatasetOptions`; it has images, fits or correspondences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from dp3d_data.errors import InputCorrupt, InputMissing, UsageError
from dp3d_data.plugins import load
from dp3d_data.records import Box, DensePrediction, ImageRecord, VertexView

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from dp3d_data.datasets.fits import Fit
    from dp3d_data.matching import ChartIndex, VertexIndex


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Where a dataset lies and what is wanted of it; each uses what concerns it.

    Attributes:
        path: file of annotations, results or fits, or root folder.
        images: folders in which photographs are looked for; files and patterns, too, for "folder".
        category: of the run.
        category_in_file: name or id of the category in the file, where it differs.
        masks: whether masks are wanted.
        charts: file that says which body vertex lies where on the charts of people.
        weights: file of weights whose vertex embeddings the pixel embeddings belong to.
    """

    path: str = ""
    images: tuple[str, ...] = ()
    category: str = "dog"
    category_in_file: str = ""
    masks: bool = False
    charts: str = ""
    weights: str = ""


@dataclass(frozen=True)
class Dataset:
    """A dataset of images, of fits of a body model, or of both; with correspondences, no network is needed.

    Attributes:
        name: the word that the user types and that records and tables carry, for example "folder".
        model: name of what made its correspondences, as rows carry it; empty where it brings none.
    """

    options: DatasetOptions = DatasetOptions()
    name: ClassVar[str]
    model: ClassVar[str] = ""

    def records(self) -> list[ImageRecord]:
        """Every image once, in a fixed order, with unique ids that depend on no working directory; opens none.

        Raises:
            InputMissing: a path does not exist, or holds another layout; the message shows expected and found.
            InputCorrupt: a file that speaks for many images cannot be read, or nothing in it can be used.
            UsageError: an option that it needs is missing, or the file has no such category.
            NothingToDo: there is no image.
        """
        raise NotImplementedError

    def digest(self) -> str:
        """Fingerprint of what shapes the results besides records and images; empty where there is nothing."""
        return ""

    def reader(self, num_vertices: int, index: VertexIndex | ChartIndex | None) -> InstanceReader:
        """What reads its correspondences; made once in each process.

        Args:
            num_vertices: of the template whose vertices they are.
            index: what pixels are matched to: the charts of --charts, the vertices of --weights, else None.

        Raises:
            TemplateError: they are of another template.
            UsageError: no index, where one is needed.
        """
        raise NotImplementedError

    def size_of(self, record: ImageRecord) -> tuple[int, int]:
        """(width, height) in pixels of an image that is not there, as its correspondences tell.

        Raises:
            InputCorrupt: they do not.
        """
        hint = "name the folder of the photographs: --images FOLDER"
        raise InputCorrupt(f"no photograph, and {self.name} does not tell its size", hint=hint)

    def fits(self) -> Iterator[Fit | BadInstance]:
        """Every fit once, in an order that depends on names alone; one that cannot be read is a BadInstance.

        Raises:
            InputMissing: the folder or what the layout needs is not there; the message shows expected and found.
            InputCorrupt: an index file that speaks for many fits is unreadable.
        """
        raise NotImplementedError

    def path(self, expected: str) -> Path:
        """The path of the options.

        Raises:
            UsageError: none was given.
        """
        if not self.options.path:
            hint = f"add it: --dataset {self.name} --path PATH"
            raise UsageError(f"the dataset {self.name!r} needs a path", expected=expected, hint=hint)
        return Path(self.options.path)

    def root(self, expected: str) -> Path:
        """The path of the options, which is there.

        Raises:
            UsageError: none was given.
            InputMissing: no such file or folder.
        """
        root = self.path(expected)
        if not root.exists():
            raise InputMissing("no such folder", expected=expected, path=root)
        return root

    def require_charts(self) -> None:
        """Refuse charts of anything but people, and people without their charts.

        Raises:
            UsageError: another category, or no file of charts.
        """
        if self.options.category != "person":
            got = f"--category {self.options.category}"
            raise UsageError("charts are of people", got=got, expected="--category person")
        if not self.options.charts:
            hint = "say which body vertex lies where: --charts UV_Processed.mat"
            raise UsageError(f"the dataset {self.name!r} needs the charts of the body", hint=hint)


@dataclass(frozen=True, eq=False)
class ReadyInstance:
    """One instance with its correspondences: the vertex of every pixel, or the visible vertices themselves.

    Attributes:
        name: unique in its image; the instance id is image id, #, name.
        box: xyxy in image pixels.
        score: 0..1.
        found: a template vertex for each pixel of the box, or the visible vertices with their keypoints.
        points: [K, 3] the true place of every template vertex, in the camera frame and the unit of the template's file;
            None where unknown.
    """

    name: str
    box: Box
    score: float
    found: DensePrediction | VertexView
    points: Float[np.ndarray, "K 3"] | None = None


@dataclass(frozen=True)
class BadInstance:
    """An instance or a fit that cannot be read, with the reason; the others can.

    Attributes:
        name: of the instance as in `ReadyInstance`; of a fit, its instance id.
        image_id, path: of a fit, its image and the file that holds it.
    """

    name: str
    error: Exception
    image_id: str = ""
    path: Path | None = None

    @property
    def message(self) -> str:
        """What is wrong and what was found, in one line."""
        what, got = getattr(self.error, "what", str(self.error)), getattr(self.error, "got", None)
        return what if got in (None, "") else f"{what}, got {got}"


# An image and its (width, height) in upright pixels -> its instances, in a fixed order. What it raises, such as
# InputCorrupt, is a row of the failures table.
InstanceReader: TypeAlias = Callable[[ImageRecord, tuple[int, int]], Sequence[ReadyInstance | BadInstance]]


GROUP = "dp3d.datasets"  # entry points: classes made from `DatasetOptions`
IMAGES: dict[str, str] = {
    "folder": "dp3d_data.datasets.folder:Folder",
    "samples": "dp3d_data.datasets.folder:Samples",
    "coco": "dp3d_data.datasets.coco:Coco",
    "lvis": "dp3d_data.datasets.coco:Lvis",
    "stanford-dogs": "dp3d_data.datasets.stanford:StanfordDogs",
    "stanford-extra": "dp3d_data.datasets.stanford:StanfordExtra",
    "human36m": "dp3d_data.datasets.people:Human36M",
    "up3d": "dp3d_data.datasets.people:Up3d",
    "3dpw": "dp3d_data.datasets.people:ThreeDPW",
    "iuv-results": "dp3d_data.datasets.iuv:IuvResults",
    "iuv-images": "dp3d_data.datasets.iuv:IuvImages",
    "dump": "dp3d_data.datasets.dump:Dump",
    "keypoints": "dp3d_data.datasets.keypoint_arrays:KeypointArrays",
}
FITS: dict[str, str] = {
    "smalify": "dp3d_data.datasets.smal:Smalify",
    "wldo": "dp3d_data.datasets.smal:Wldo",
    "animal3d": "dp3d_data.datasets.smal:Animal3D",
    "posed-mesh": "dp3d_data.datasets.smal:PosedMesh",
    "neutral": "dp3d_data.datasets.neutral:Neutral",
    **{name: IMAGES[name] for name in ("stanford-dogs", "up3d", "human36m", "3dpw")},
}


def open_images(name: str, options: DatasetOptions) -> Dataset:
    """A dataset of images: one of the project's, or one that another package adds.

    Raises:
        UsageError: no such dataset, with the near match, or it has no images; or options that it needs are missing.
        DependencyMissing: the package that adds it cannot be imported.
    """
    return _opened(name, options, IMAGES, "images", Dataset.records)


def open_fits(name: str, options: DatasetOptions) -> Dataset:
    """A dataset of fits; raises as `open_images`."""
    return _opened(name, options, FITS, "fits", Dataset.fits)


def _opened(name: str, options: DatasetOptions, own: dict[str, str], what: str, method: Callable) -> Dataset:
    found = load(GROUP, name, own)(options)
    if not isinstance(found, Dataset) or getattr(type(found), method.__name__) is method:
        expected = f"{type(found).__name__} as a Dataset with {method.__name__}()"
        raise UsageError(f"the dataset {name!r} has no {what}", expected=expected)
    return found


__all__ = [
    "BadInstance",
    "Dataset",
    "DatasetOptions",
    "InstanceReader",
    "ReadyInstance",
    "open_fits",
    "open_images",
]
