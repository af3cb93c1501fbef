"""A small tree of every source as its users have it on disk, and what must be read from it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pycocotools import mask as run_length

from dp3d_data.datasets import DatasetOptions
from tests.data.sources.pictures import SIZE, photo, write_json
from tests.data.sources.ready_examples import (
    write_dump,
    write_dump_of_embeddings,
    write_iuv_images,
    write_iuv_results,
    write_keypoints,
)


@dataclasses.dataclass(frozen=True)
class Example:
    """A source, as the contract tries it.

    Attributes:
        write: writes its tree into a folder and gives the options that read it.
        expected: image id -> (group, split, boxes; None to detect).
        annotation: the file in the tree that the contract overwrites with others of another kind; empty where there is
            none.
        ready: whether it brings correspondences.
    """

    write: Callable[[Path], DatasetOptions]
    expected: dict[str, tuple[str | None, str | None, tuple | None]]
    annotation: str = ""
    ready: bool = False


def rectangle(x0, y0, x1, y1, size=SIZE):
    """A mask [h, w]."""
    mask = np.zeros(size[::-1], dtype=np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def compressed(mask) -> dict:
    found = run_length.encode(np.asfortranarray(mask))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def uncompressed(mask) -> dict:
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[0] else lengths}


def note(number, image, category, bbox, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **more}


BOX = [4, 5, 20, 10]
CORNERS = (4.0, 5.0, 24.0, 15.0)
COCO_CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]


def write_folder(root: Path) -> DatasetOptions:
    photo(root / "photos" / "b.jpg")
    photo(root / "photos" / "deep" / "a.png")
    (root / "photos" / "notes.txt").touch()
    return DatasetOptions(images=(str(root / "photos"),))


def write_coco(root: Path) -> DatasetOptions:
    names = ("one.jpg", "two.jpg", "crowd.jpg", "cat.jpg")
    for name in names:
        photo(root / "val2017" / name)
    mask = rectangle(4, 5, 24, 15)
    images = [{"id": 7 + n, "file_name": name, "width": 40, "height": 30} for n, name in enumerate(names)]
    notes = [
        note(11, 7, 18, BOX, segmentation=[[4, 5, 24, 5, 24, 15, 4, 15]]),
        note(12, 7, 18, [30, 20, 5, 5], segmentation=[]),
        note(13, 8, 18, BOX, segmentation=compressed(mask)),
        note(14, 8, 18, BOX, segmentation=uncompressed(mask)),
        note(15, 9, 18, BOX, iscrowd=1, segmentation=uncompressed(mask)),
        note(16, 10, 1, BOX),
    ]
    content = {"images": images, "annotations": notes, "categories": COCO_CATEGORIES}
    path = write_json(root / "annotations" / "instances_val2017.json", content)
    return DatasetOptions(path=str(path), images=(str(root / "val2017"),))


def write_lvis(root: Path) -> DatasetOptions:
    photo(root / "train2017" / "000000000009.jpg")
    photo(root / "flickr" / "12_ab_z.jpg")
    images = [
        {"id": 9, "coco_url": "http://images.cocodataset.org/train2017/000000000009.jpg", "width": 40, "height": 30},
        {"id": 10, "coco_url": "http://images.cocodataset.org/val2017/000000000010.jpg",
         "flickr_url": "http://farm8.staticflickr.com/70/12_ab_z.jpg", "width": 40, "height": 30},
    ]  # fmt: skip
    categories = [
        {"id": 378, "name": "canis_familiaris", "synonyms": ["hound"]},
        {"id": 225, "name": "cat", "synonyms": ["cat"]},
    ]
    notes = [note(1, 9, 378, BOX), note(2, 10, 378, BOX), note(3, 10, 225, BOX)]
    path = write_json(root / "lvis_v1_train.json", {"images": images, "annotations": notes, "categories": categories})
    return DatasetOptions(path=str(path), images=(str(root), str(root / "flickr")))


XML = """<annotation><size><width>40</width><height>30</height></size>
<object><name>Chihuahua</name><bndbox><xmin>4</xmin><ymin>5</ymin><xmax>24</xmax><ymax>15</ymax></bndbox></object></annotation>"""


def write_stanford_dogs(root: Path) -> DatasetOptions:
    import scipy.io

    names = [
        "n02085620-Chihuahua/n02085620_7.jpg",
        "n02085620-Chihuahua/n02085620_8.jpg",
        "n02085782-Japanese_spaniel/n02085782_2.jpg",
    ]
    for name in names:
        photo(root / "Images" / name)
    for name in names[:2]:
        path = (root / "Annotation" / name).with_suffix("")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(XML)
    for side, chosen in (("train", names[::2]), ("test", names[1:2])):
        cells = np.array([[name] for name in chosen], dtype=object)
        scipy.io.savemat(root / f"{side}_list.mat", {"file_list": cells, "labels": np.ones((len(chosen), 1), np.uint8)})
    return DatasetOptions(path=str(root))


def write_stanford_extra(root: Path) -> DatasetOptions:
    entries = []
    for place, name in enumerate(("n02087394-Ridgeback/n02087394_1.jpg", "n02099601-golden/n02099601_3.jpg")):
        photo(root / "Images" / name, place)
        joints = [[float(j), 2.0 * j, j % 2] for j in range(24)]
        runs = compressed(rectangle(4, 5, 24, 15))["counts"]
        entries.append(
            {"img_path": name, "img_width": 40, "img_height": 30, "img_bbox": BOX, "seg": runs, "joints": joints}
        )
    path = write_json(root / "StanfordExtra_v12.json", entries)
    np.save(root / "train_stanford_StanfordExtra_v12.npy", np.array([1]))
    np.save(root / "test_stanford_StanfordExtra_v12.npy", np.array([0]))
    return DatasetOptions(path=str(path), images=(str(root / "Images"),))


def write_human36m(root: Path) -> DatasetOptions:
    names = [
        f"s_{s:02d}_act_02_subact_01_ca_01/s_{s:02d}_act_02_subact_01_ca_01_00000{f}.jpg"
        for s in (1, 9)
        for f in (1, 6)
    ]
    for name in names:
        photo(root / "images" / name)
    for subject, own in ((1, names[:2]), (9, names[2:])):
        images = [
            {"id": n, "file_name": name, "width": 40, "height": 30, "subject": subject} for n, name in enumerate(own)
        ]
        data = {"images": images, "annotations": [{"id": 70, "image_id": 0, "bbox": BOX}]}
        write_json(root / "annotations" / f"Human36M_subject{subject}_data.json", data)
    return DatasetOptions(path=str(root))


def write_up3d(root: Path) -> DatasetOptions:
    for number in (3, 7, 12):
        photo(root / "up-3d" / f"{number:05d}_image.png")
        (root / "up-3d" / f"{number:05d}_body.pkl").touch()
    for side, number in (("trainval", 3), ("val", 7), ("test", 12)):
        (root / "up-3d" / f"{side}.txt").write_text(f"/{number:05d}_image.png\n")
    return DatasetOptions(path=str(root))


def write_threedpw(root: Path) -> DatasetOptions:
    for folder, name in (("train", "courtyard_00"), ("validation", "downtown_01")):
        photo(root / "imageFiles" / name / "image_00000.jpg")
        (root / "sequenceFiles" / folder).mkdir(parents=True)
        (root / "sequenceFiles" / folder / f"{name}.pkl").touch()
    photo(root / "imageFiles" / "unknown_02" / "image_00003.jpg")
    return DatasetOptions(path=str(root))


H36M = "s_{0:02d}_act_02_subact_01_ca_01/s_{0:02d}_act_02_subact_01_ca_01_00000{1}.jpg"
SAMPLES = ("dog.jpg", "giraffe.jpg", "horses.jpg", "person.jpg")
EXAMPLES = {
    "folder": Example(write_folder, {"b.jpg": (None, None, None), "deep/a.png": (None, None, None)}),
    "samples": Example(lambda root: DatasetOptions(), dict.fromkeys(SAMPLES, (None, None, None))),
    "coco": Example(
        write_coco,
        {
            "one.jpg": (None, "val", (CORNERS, (30.0, 20.0, 35.0, 25.0))),
            "two.jpg": (None, "val", (CORNERS, CORNERS)),
            "crowd.jpg": (None, "val", ()),
        },
        "annotations/instances_val2017.json",
    ),
    "lvis": Example(
        write_lvis,
        {
            "train2017/000000000009.jpg": (None, "train", (CORNERS,)),
            "val2017/000000000010.jpg": (None, "train", (CORNERS,)),
        },
        "lvis_v1_train.json",
    ),
    "stanford-dogs": Example(
        write_stanford_dogs,
        {
            "n02085620-Chihuahua/n02085620_7.jpg": ("n02085620-Chihuahua", "train", (CORNERS,)),
            "n02085620-Chihuahua/n02085620_8.jpg": ("n02085620-Chihuahua", "test", (CORNERS,)),
            "n02085782-Japanese_spaniel/n02085782_2.jpg": ("n02085782-Japanese_spaniel", "train", ()),
        },
        "Annotation/n02085620-Chihuahua/n02085620_7",
    ),
    "stanford-extra": Example(
        write_stanford_extra,
        {
            "n02087394-Ridgeback/n02087394_1.jpg": ("n02087394-Ridgeback", "test", (CORNERS,)),
            "n02099601-golden/n02099601_3.jpg": ("n02099601-golden", "train", (CORNERS,)),
        },
        "StanfordExtra_v12.json",
    ),
    "human36m": Example(
        write_human36m,
        {
            H36M.format(1, 1): ("S1", "train", (CORNERS,)),
            H36M.format(1, 6): ("S1", "train", ()),
            H36M.format(9, 1): ("S9", "test", (CORNERS,)),
            H36M.format(9, 6): ("S9", "test", ()),
        },
        "annotations/Human36M_subject1_data.json",
    ),
    "up3d": Example(
        write_up3d,
        {
            f"{number:05d}_image.png": (f"{number:05d}_image.png", side, None)
            for number, side in ((3, "train"), (7, "val"), (12, "test"))
        },
    ),
    "3dpw": Example(
        write_threedpw,
        {
            "courtyard_00/image_00000.jpg": ("courtyard_00", "train", None),
            "downtown_01/image_00000.jpg": ("downtown_01", "val", None),
            "unknown_02/image_00003.jpg": ("unknown_02", None, None),
        },
    ),
    "iuv-results": Example(
        write_iuv_results,
        dict.fromkeys(("000000000785.jpg", "000000000872.jpg"), (None, None, None)),
        "results.json",
        ready=True,
    ),
    "iuv-images": Example(
        write_iuv_images, dict.fromkeys(("a.jpg", "alone_IUV.png", "sub/b.png"), (None, None, None)), ready=True
    ),
    "dump": Example(write_dump, dict.fromkeys(("a.jpg", "b.jpg"), (None, None, None)), "dump.pkl", ready=True),
    "dump of embeddings": Example(write_dump_of_embeddings, {"a.jpg": (None, None, None)}, "dump.pkl", ready=True),
    "keypoints": Example(
        write_keypoints, {"a.jpg": ("x", "train", None), "gone.jpg": ("y", "val", None)}, "keypoints.npz", ready=True
    ),
}


def source_name(example: str) -> str:
    """The source of an example: there are two of dumps."""
    return example.partition(" ")[0]
