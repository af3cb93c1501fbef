"""Draw docs/pictures/lifted-photographs.jpg: photographs, extracted by the embedded network and lifted by a model.

    python scripts/draw_lifted_photographs.py --model dp3d/dog/model [PHOTOGRAPHS]

Only photographs whose licence allows it may stand in the documentation.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from dp3d_model.gallery import draw_instance, model_colours
from dp3d_model.lifting_inputs import open_to_lift, template_of
from dp3d_model.model_file import load_model
from dp3d_model.prediction import predict
from pipelines.lift import from_photographs

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "lifted-photographs.jpg"
ROWS = 8


def draw(model: str, photographs: list[str], picture: Path) -> None:
    """The first instances of the photographs, a row each."""
    lifter = load_model(model)
    with tempfile.TemporaryDirectory() as folder:
        run = from_photographs(photographs, template_of(lifter.surface), Path(folder)).run
        instances = open_to_lift(run.folder).instances
        instances = instances.take(range(min(ROWS, len(instances))))
        faces, colours = lifter.surface.faces.numpy(), model_colours(lifter)
        (many,) = predict(lifter, instances)
        rows = [draw_instance(many.at(i), instances, i, faces, colours) for i in range(len(instances))]
    Image.fromarray(np.concatenate(rows)).save(picture, quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="*", default=[str(ROOT.parent / "shared" / "data" / "photos")])
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, default=PICTURE)
    given = parser.parse_args()
    draw(given.model, given.photographs, given.out)


if __name__ == "__main__":
    main()
