"""Small trees of made-up numbers in the layouts in which fits are published, and the fits that they mean."""

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from dp3d_data.datasets import BadInstance, DatasetOptions, open_fits
from dp3d_data.datasets.fits import Fit, FitCamera

SIZE = (64, 48)


def made(*values, **named) -> Fit:
    """A fit whose first fields are these."""
    return Fit(**dict(zip((field.name for field in fields(Fit)), values, strict=False)), **named)


def read_fits(name: str, root: Path) -> Iterator[Fit | BadInstance]:
    """The fits of a dataset below a folder."""
    return open_fits(name, DatasetOptions(path=str(root))).fits()


def same_fit(one: Fit | FitCamera, other: Fit | FitCamera) -> bool:
    """Whether two records hold the same values, arrays compared exactly."""
    return all(_same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, FitCamera) and isinstance(other, FitCamera):
        return same_fit(one, other)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return one is not None and other is not None and np.array_equal(one, other)
    return one == other


@dataclass(frozen=True)
class Tree:
    """A layout: how to write it, how to spoil one unit of it, and how many fits that unit speaks for."""

    write: Callable[[Path, int], list[Fit]]
    spoil: Callable[[Path], None]
    spoilt: int
    pickles: str | None


def picture(path: Path, size=SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(path)
    return path


def old_pickle(path: Path, value) -> None:
    """A pickle as Python 2 and old numpy wrote it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol=2).replace(b"numpy._core", b"numpy.core"))


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def people(rng, joints=24, betas=10):
    return rng.normal(0, 0.3, (joints, 3)), rng.normal(0, 1, betas), rng.normal(0, 0.2, 3) + (0, 0, 5)


def write_up3d(root: Path, seed: int) -> list[Fit]:
    """Number 7 was fitted on the whole image, the others on a crop of 32 x 40 pixels at (8, 4), enlarged to 80 x
    160."""
    rng, fits = np.random.default_rng(seed), {}
    folder = root / "up-3d"
    for number in (12, 3, 7):
        pose, betas, trans = people(rng)
        turn, place, focal = rng.normal(0, 0.4, 3), rng.normal(0, 0.1, 3), float(rng.uniform(900, 1100))
        name = f"{number:05d}_image.png"
        image = picture(folder / name)
        record = {"pose": pose.ravel(), "betas": betas, "trans": trans, "rt": turn, "t": place, "f": focal}
        old_pickle(folder / f"{number:05d}_body.pkl", record)
        whole = number == 7
        (folder / f"{number:05d}_fit_crop_info.txt").write_text("48 64 0 48 0 64\n" if whole else "160 80 4 44 8 40\n")
        view = (
            {"focal": (focal, focal), "centre": (32, 24)}
            if whole
            else {"focal": (0.4 * focal, 0.25 * focal), "centre": (24, 24)}
        )
        camera = FitCamera("perspective", Rotation.from_rotvec(turn).as_matrix(), place, **view)
        split = {3: "val", 7: "test", 12: "train"}[number]
        extra = up3d_extras(folder, f"{number:05d}", rng) if number == 3 else {}
        fits[number] = made(f"{name}#0", name, image, SIZE, name, split, "smpl", pose, betas, trans, camera, **extra)
    (folder / "val.txt").write_text("/00003_image.png\n")
    (folder / "trainval.txt").write_text("/00003_image.png\n/00012_image.png\n")
    (folder / "test.txt").write_text("/00007_image.png\n\n")
    return [fits[number] for number in sorted(fits)]


def up3d_extras(folder: Path, number: str, rng) -> dict:
    """The labelled joints, of which the second was not seen, and the two notes on an image."""
    joints = np.vstack([rng.uniform(1, 64, (2, 14)), np.ones(14)])
    joints[:, 1] = 0
    np.save(folder / f"{number}_joints.npy", joints)
    (folder / f"{number}_dataset_info.txt").write_text("mpii 17\n")
    (folder / f"{number}_quality_info.txt").write_text("high\n")
    ids = [8, 2, 1, 4, 7, 21, 19, 17, 16, 18, 20]
    labels = np.column_stack([ids, np.delete(joints[:2, :12], 1, axis=1).T])
    return {"labels": labels, "source_dataset": "mpii 17", "source_quality": "high"}


def write_3dpw(root: Path, seed: int) -> list[Fit]:
    rng, fits, frames = np.random.default_rng(seed), [], 3
    inner = np.array([[1960.0, 0, 540], [0, 1950, 960], [0, 0, 1]])
    for name, folder, split, genders in (("b_walk_00", "train", "train", "mf"), ("a_bus_01", "validation", "val", "f")):
        image = picture(root / "imageFiles" / name / "image_00000.jpg")
        views = np.tile(np.eye(4), (frames, 1, 1))
        views[:, :3, :3] = Rotation.random(frames, random_state=seed).as_matrix()
        views[:, :3, 3] = rng.normal(0, 1, (frames, 3))
        poses, trans = rng.normal(0, 0.3, (len(genders), frames, 72)), rng.normal(0, 1, (len(genders), frames, 3))
        betas, valid = rng.normal(0, 1, (len(genders), 300)), np.ones((len(genders), frames), dtype=int)
        betas[:, 10:] = 0
        record = {
            "sequence": name,
            "poses": list(poses),
            "trans": list(trans),
            "betas": list(betas),
            "genders": list(genders),
        }
        record |= {"cam_poses": views, "cam_intrinsics": inner, "campose_valid": list(valid), "poses_60Hz": list(poses)}
        old_pickle(root / "sequenceFiles" / folder / f"{name}.pkl", record)
        for person, gender in enumerate(genders):
            for frame in range(frames):
                camera = FitCamera(
                    "perspective", views[frame, :3, :3], views[frame, :3, 3], focal=(1960, 1950), centre=(540, 960)
                )
                known = f"{name}/image_{frame:05d}.jpg"
                body = {"m": "smpl-male", "f": "smpl-female"}[gender]
                place = image if frame == 0 else None
                pose = poses[person, frame].reshape(24, 3)
                numbers = (pose, betas[person, :10], trans[person, frame])
                fits.append(made(f"{known}#{person}", known, place, SIZE, name, split, body, *numbers, camera))
    return fits[6:] + fits[:6]


def write_human36m(root: Path, seed: int) -> list[Fit]:
    rng, fits, number = np.random.default_rng(seed), [], 0
    for subject, ending in ((1, "_smpl_param.json"), (11, "_SMPL_NeuralAnnot.json")):
        images, notes, frames, cameras = [], [], {}, {}
        for cam in (1, 2):
            turn, place = Rotation.random(random_state=seed + cam).as_matrix(), rng.normal(0, 1000, 3)
            cameras[str(cam)] = {"R": turn.tolist(), "t": place.tolist(), "f": [1145.0, 1143.5], "c": [512.5, 515.5]}
        for frame in (0, 5):
            pose, betas, trans = people(rng)
            frames[str(frame)] = {"pose": pose.ravel().tolist(), "shape": betas.tolist(), "trans": trans.tolist()}
            for cam in (1, 2):
                number += 1
                name = f"s_{subject:02d}_act_02_subact_01_ca_{cam:02d}/s_{subject:02d}_ca_{cam:02d}_{frame:06d}.jpg"
                image = {
                    "id": number,
                    "file_name": name,
                    "width": 1000,
                    "height": 1002,
                    "subject": subject,
                    "cam_idx": cam,
                }
                images.append(image | {"action_idx": 2, "subaction_idx": 1, "frame_idx": frame})
                notes.append({"id": number + 70, "image_id": number, "bbox": [10, 20, 300, 500]})
                view = cameras[str(cam)]
                camera = FitCamera(
                    "perspective", view["R"], np.array(view["t"]) * 1e-3, focal=(1145, 1143.5), centre=(512.5, 515.5)
                )
                place = picture(root / "images" / name) if cam == 1 else None
                split, box = "test" if subject == 11 else "train", (10, 20, 310, 520)
                known = (f"{name}#{number + 70}", name, place, (1000, 1002), f"S{subject}", split, "smpl")
                fits.append(made(*known, pose, betas, trans, camera, box=box))
        start = root / "annotations" / f"Human36M_subject{subject}"
        write_json(Path(f"{start}_data.json"), {"images": images, "annotations": notes})
        write_json(Path(f"{start}_camera.json"), cameras)
        write_json(Path(f"{start}{ending}"), {"2": {"1": frames}})
    return fits


def write_stanford_dogs(root: Path, seed: int) -> list[Fit]:
    """One file of each kind: nested json, flat npz with WLDO's names, pickle with root and joints apart."""
    rng, fits = np.random.default_rng(seed), []
    for number, breed in enumerate(("n02085620-Chihuahua", "n02086240-Shih-Tzu", "n02110185-Siberian_husky")):
        pose, betas, trans = people(rng, 35, 20)
        scales = rng.normal(0, 0.2, 6 + (number == 0))
        name = f"{breed.partition('-')[0]}_{number + 100}"
        image = picture(root / "Images" / breed / f"{name}.jpg")
        turn, place = Rotation.random(random_state=seed + number).as_matrix(), rng.normal(0, 1, 3)
        view = {"rotation": turn, "translation": place, "centre": np.array([32.0, 24.0])}
        view |= (
            {"kind": "orthographic", "scale": 40.0}
            if number == 2
            else {"kind": "perspective", "focal": np.array([500.0, 510.0])}
        )
        if number == 0:
            plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in view.items()}
            record = {
                "pose": pose.tolist(),
                "betas": betas.tolist(),
                "joint_scales": scales.tolist(),
                "translation": trans.tolist(),
            }
            write_json(
                root / "fits" / breed / f"{name}.json",
                record | {"camera": plain, "image_size": SIZE, "box": [1, 2, 30, 40]},
            )
        elif number == 1:
            (root / "fits").mkdir(exist_ok=True, parents=True)
            flat = {f"camera_{key}": value for key, value in view.items()}
            both = np.concatenate([betas, scales])
            np.savez(
                root / "fits" / f"{breed}_{name}.npz", pose=pose.ravel(), betas=both, trans=trans, imgname=name, **flat
            )
        else:
            record = {"global_rotation": pose[0], "joint_rotations": pose[1:], "betas": betas, "log_betascales": scales}
            old_pickle(root / "fits" / breed / f"{name}.pkl", record | {"trans": trans, "camera": view})
            picture(root / "masks" / breed / f"{name}.png")
        camera = FitCamera(
            **{key: tuple(value) if key in ("focal", "centre") else value for key, value in view.items()}
        )
        known, size = f"{breed}/{name}.jpg", SIZE if number == 0 else None
        mask = root / "masks" / breed / f"{name}.png" if number == 2 else None
        extra = {"joint_scales": scales, "box": (1, 2, 30, 40) if number == 0 else None, "mask_path": mask}
        split = "test" if number == 1 else None
        fits.append(made(f"{known}#0", known, image, size, breed, split, "smal", pose, betas, trans, camera, **extra))
    (root / "test.txt").write_text("n02086240-Shih-Tzu/n02086240_101.jpg\n")
    return fits


def write_smalify(root: Path, seed: int) -> list[Fit]:
    """Three images, one of them a folder deeper, and an earlier stage that is not read."""
    rng, fits = np.random.default_rng(seed), []
    for name in ("n02099601_176", "rs_dog/00013", "00012"):
        pose, betas, trans = people(rng, 35, 20)
        scales = rng.normal(0, 0.2, 6)
        record = {"global_rotation": pose[0], "joint_rotations": pose[1:], "betas": betas, "log_betascale": scales}
        old_pickle(root / name / "st10_ep0.pkl", record | {"trans": trans - (0, 0, 5)})
        old_pickle(root / name / "st0_ep0.pkl", record | {"trans": trans})
        focal = 128 * np.sqrt(3)
        camera = FitCamera(
            "perspective", np.diag([1, -1, -1]), np.array([0, 0, 2.7]), focal=(focal, focal), centre=(128, 128)
        )
        known = (f"{name}#0", name, None, (256, 256), name, None, "smal")
        fits.append(made(*known, pose, betas, trans - (0, 0, 5), camera, joint_scales=scales))
    return sorted(fits, key=lambda fit: fit.instance_id)


def write_wldo(root: Path, seed: int) -> list[Fit]:
    """One of 26 numbers of shape, one of 20, one of 30; and the file that holds all of a run."""
    rng, fits = np.random.default_rng(seed), []
    root.mkdir(parents=True, exist_ok=True)
    for number, count in enumerate((26, 20, 30)):
        pose, betas, trans = people(rng, 35, count)
        name, zoom = f"n02085620-Chihuahua_n02085620_{number}", float(rng.uniform(-0.2, 0.2))
        record = {
            "imgname": f"../data/Images/n02085620-Chihuahua/n02085620_{number}.jpg",
            "pose": pose.ravel(),
            "betas": betas,
        }
        record |= {
            "camera": np.array([zoom, 112, 112]),
            "trans": trans,
            "has_bbox": False,
            "acc_PCK": 0.8,
            "legs_PCK": np.ones(4),
        }
        np.savez(root / f"{name}.npz", **record)
        focal = 2700 * (1 + zoom)
        camera = FitCamera("perspective", np.eye(3), np.array([0, 0, 20.0]), focal=(focal, focal), centre=(112, 112))
        known = (
            f"{name}#0",
            name,
            None,
            (224, 224),
            "n02085620-Chihuahua",
            None,
            "smal",
            pose,
            betas[:20],
            trans,
            camera,
        )
        fits.append(made(*known, joint_scales=betas[20:26] if count > 20 else None, mirrored=True))
    np.savez(root / "params.npz", pose=np.zeros((3, 105)), betas=np.zeros((3, 26)), camera=np.zeros((3, 3)))
    return fits


def write_animal3d(root: Path, seed: int) -> list[Fit]:
    """Of train.json two animals of one image of known size, of test.json one whose image was enlarged before the
    fit."""
    rng, fits = np.random.default_rng(seed), []
    for split, focal, count in (("train", 900.0, 2), ("test", 1000.0, 1)):
        entries = []
        for number in range(count):
            pose, betas, trans = people(rng, 35, 41)
            name = f"images/{split}/n02099601_golden_retriever/n02099601_1.JPEG"
            image, mask = picture(root / name), picture(root / name.replace("images", "masks").replace("JPEG", "png"))
            entry = {
                "img_path": name,
                "mask_path": mask.relative_to(root).as_posix(),
                "bbox": [4, 5, 30, 20],
                "supercategory": 1,
            }
            entry |= {"pose": pose.ravel().tolist(), "shape": betas[:20].tolist(), "shape_extra": betas[20:].tolist()}
            entry |= {"trans": trans.tolist(), "keypoint_2d": [[1, 2, 1]] * 26, "with_tail": 1}
            view = {"focal": (focal, focal), "centre": (32, 24)}
            if split == "test":
                points = rng.normal(0, 0.3, (26, 3))
                seen = 250 * (points + trans)[:, :2] / (points + trans)[:, 2:] + (20, 30)
                entry |= {"keypoint_3d": points.tolist(), "reproj_kp_2d": seen.tolist()}
                view = {"focal": (250, 250), "centre": (20, 30)}
            entries.append(entry)
            camera = FitCamera("perspective", np.eye(3), np.zeros(3), **view)
            known = (
                f"{name}#{number}",
                name,
                image,
                SIZE,
                str(Path(name).parent),
                split,
                "smal",
                pose,
                betas,
                trans,
                camera,
            )
            fits.append(made(*known, box=(4, 5, 34, 25), mask_path=mask))
        write_json(
            root / f"{split}.json", {"data": entries, "info": "x"} | ({"flength": focal} if split == "train" else {})
        )
    return fits[2:] + fits[:2]


def write_posed_mesh(root: Path, seed: int) -> list[Fit]:
    """BITE's last step of several with its array; AniMer's, turned over, with a json; one with the folder's camera."""
    rng, fits = np.random.default_rng(seed), []
    for name, turned, file in (
        ("n1__rex", False, "n1__rex_res_e300"),
        ("tiger_0", True, "tiger_0"),
        ("wolf", False, "wolf"),
    ):
        vertices = rng.normal(0, 0.3, (4, 3)) + (0, 0, 6)
        path = root / f"{file}.obj"
        write_obj(path, vertices * (1, -1, -1) if turned else vertices)
        views = {
            "n1__rex": (2000.5, 256, (128, 128)),
            "tiger_0": (3906.25, 1000, (480, 520)),
            "wolf": (700, 300, (150, 150)),
        }
        focal, size, centre = views[name]
        turn = np.diag([1.0, -1, -1]) if turned else np.eye(3)
        camera = FitCamera("perspective", turn, np.zeros(3), focal=(focal, focal), centre=centre)
        known = (
            f"{name}#0",
            name,
            None,
            (size, size),
            name,
            None,
            "smal",
            np.zeros((0, 3)),
            np.zeros(0),
            np.zeros(3),
            camera,
        )
        fits.append(made(*known, mesh_path=path))
    for step in ("e000", "e150"):
        write_obj(root / f"n1__rex_res_{step}.obj", np.ones((4, 3)))
    (root / "details").mkdir()
    write_obj(root / "details" / "n1__rex_res_ainit.obj", np.ones((4, 3)))
    np.save(root / "details" / "n1__rex_flength_e300.npy", np.array([[2000.5]], dtype=np.float32))
    write_json(root / "tiger_0.json", {"focal": 3906.25, "image_size": [1000, 1000], "centre": [480, 520]})
    write_json(root / "camera.json", {"focal": 700, "image_size": [300, 300]})
    return fits


def write_obj(path: Path, vertices, faces=((0, 1, 2), (0, 2, 3))) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.8f} {y:.8f} {z:.8f} 0.6 0.7 0.8" for x, y, z in vertices] + [
        f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces
    ]
    path.write_text("# https://github.com/mikedh/trimesh\n" + "\n".join(lines) + "\n")


def write_neutral(root: Path, seed: int) -> list[Fit]:
    """By hand, not with our writer: as a user's script would."""
    rng, fits = np.random.default_rng(seed), []
    for name, body, count in (("b.json", "smal", 35), ("a.json", "smpl", 24)):
        entries = []
        for number in range(2):
            pose, betas, place = people(rng, count, 7)
            entry = {"instance_id": f"{name}-{number}", "body": body, "pose": pose.tolist(), "betas": betas.tolist()}
            seen = {"kind": "perspective", "focal": 800, "centre": [32, 24]}
            entry |= {"translation": place.tolist(), "camera": seen}
            entries.append(entry | ({"image": "pictures/x.jpg", "group": "rex", "split": "val"} if number else {}))
            camera = FitCamera("perspective", np.eye(3), np.zeros(3), focal=(800, 800), centre=(32, 24))
            image, group = ("pictures/x.jpg", "rex") if number else (f"{name}-{number}",) * 2
            path, split = (root / image, "val") if number else (None, None)
            fits.append(made(f"{name}-{number}", image, path, None, group, split, body, pose, betas, place, camera))
        write_json(root / name, {"schema": "dp3d.fits", "version": 1, "fits": entries})
    return fits[2:] + fits[:2]


def spoil_frame(root: Path) -> None:
    path = root / "annotations" / "Human36M_subject1_smpl_param.json"
    parameters = json.loads(path.read_text())
    del parameters["2"]["1"]["5"]
    write_json(path, parameters)


def spoil_entry(root: Path) -> None:
    data = json.loads((root / "a.json").read_text())
    data["fits"][0]["camera"]["rotation"] = [[1, 0, 0], [0, 1, 0], [0, 0, -1]]
    write_json(root / "a.json", data)


def spoil_animal(root: Path) -> None:
    data = json.loads((root / "train.json").read_text())
    del data["data"][0]["trans"]
    write_json(root / "train.json", data)


def cut_short(relative: str) -> Callable[[Path], None]:
    def cut(root: Path) -> None:
        whole = (root / relative).read_bytes()
        (root / relative).write_bytes(whole[: len(whole) // 2])

    return cut


DOG = "fits/n02110185-Siberian_husky/n02110185_102.pkl"
TREES = {
    "up3d": Tree(write_up3d, cut_short("up-3d/00007_body.pkl"), 1, "up-3d/00007_body.pkl"),
    "3dpw": Tree(write_3dpw, cut_short("sequenceFiles/train/b_walk_00.pkl"), 6, "sequenceFiles/train/b_walk_00.pkl"),
    "human36m": Tree(write_human36m, spoil_frame, 2, None),
    "stanford-dogs": Tree(write_stanford_dogs, cut_short(DOG), 1, DOG),
    "smalify": Tree(write_smalify, cut_short("00012/st10_ep0.pkl"), 1, "00012/st10_ep0.pkl"),
    "wldo": Tree(write_wldo, cut_short("n02085620-Chihuahua_n02085620_0.npz"), 1, None),
    "animal3d": Tree(write_animal3d, spoil_animal, 1, None),
    "posed-mesh": Tree(write_posed_mesh, lambda root: (root / "tiger_0.json").write_text("[]"), 1, None),
    "neutral": Tree(write_neutral, spoil_entry, 1, None),
}
