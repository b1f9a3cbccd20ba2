"""Write procedural shapes in the layout of ShapeNetCore v2.

    OUT/procedural.json                              which categories and seeds this folder holds
    OUT/<synset>/<id>/models/model_normalized.obj    +Y up, front −Z, diagonal 1, vertex mean at the origin
    OUT/<synset>/<id>/models/model_normalized.mtl    map_Kd ../images/textureN.png
    OUT/<synset>/<id>/models/model_normalized.json   max, min, centroid of the shape in meters
    OUT/<synset>/<id>/images/textureN.png
    OUT/<synset>/<id>/meta.json                      caption, attributes, class, source

A shape is written to a hidden folder and renamed, so a killed run never leaves an incomplete shape.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_tool.procedural.categories import SYNSETS, VERSION, check_category, make_shape, shape_id
from dataset_tool.procedural.shape import Array, Indices, ProceduralPart, ProceduralShape
from torch_utils.errors import UserError
from torch_utils.failures import failure_log, log_failure
from torch_utils.files import is_leftover, make_folder, write_errors, write_text
from torch_utils.locks import is_lock, owned_folder
from torch_utils.text import counted
from torch_utils.workers import Failed, run_in_workers

MARKER = "procedural.json"
PARTIAL = ".partial-"
PNG_COMPRESSION = 3


@dataclass(frozen=True)
class WriteSummary:
    """The outcome of a run: shapes written now, shapes kept from earlier runs, and their folder."""

    written: int
    kept: int
    folder: Path


@dataclass(frozen=True)
class _Task:
    category: str
    seed: int
    index: int
    folder: Path


def _lines(template: str, table: Array | Indices) -> str:
    """The template, filled in once for every row of a table of numbers."""
    return (template * len(table)) % tuple(table.ravel().tolist())


def _obj_text(shape: ProceduralShape, offset: Array, scale: float) -> str:
    """The OBJ file: one group per part, vertices moved by −offset, rotated to face −Z, and scaled."""
    turn = np.array([-1.0, 1.0, -1.0])
    blocks = [f"# {shape.caption}\nmtllib model_normalized.mtl\n"]
    first_vertex = first_uv = 1
    for number, part in enumerate(shape.parts):
        span = np.asarray(shape.materials[part.material].span)
        corners = np.stack([part.faces + first_vertex, part.uv_faces + first_uv, part.faces + first_vertex], axis=-1)
        blocks += [
            f"g part_{number}\nusemtl {part.material}\n",
            _lines("v %.5f %.5f %.5f\n", (part.vertices - offset) * turn * scale),
            _lines("vn %.3f %.3f %.3f\n", part.normals() * turn),
            _lines("vt %.4f %.4f\n", part.uvs / span),
            _lines("f %d/%d/%d %d/%d/%d %d/%d/%d\n", corners),
        ]
        first_vertex += len(part.vertices)
        first_uv += len(part.uvs)
    return "".join(blocks)


def _mtl_text(shape: ProceduralShape, images: dict[str, str]) -> str:
    """The MTL file. images: file name of each material's texture."""
    blocks = ["# base colors are in the textures\n"]
    for name, material in shape.materials.items():
        shine = material.shine
        blocks.append(
            f"\nnewmtl {name}\nKd 1.000000 1.000000 1.000000\nKa 0 0 0\nKs {shine:.3f} {shine:.3f} {shine:.3f}\n"
            f"Ns {10 + 90 * shine:.1f}\nPm {material.metallic:.2f}\nPr {material.roughness:.2f}\n"
            f"d 1\nillum 2\nmap_Kd ../images/{images[name]}\n"
        )
    return "".join(blocks)


def _save_textures(shape: ProceduralShape, folder: Path) -> dict[str, str]:
    """Write every distinct image once, and return the file name of each material."""
    folder.mkdir()
    names: dict[int, str] = {}
    for material in shape.materials.values():
        if id(material.image) not in names:
            name = f"texture{len(names)}.png"
            Image.fromarray(np.ascontiguousarray(material.image)).save(folder / name, compress_level=PNG_COMPRESSION)
            names[id(material.image)] = name
    return {key: names[id(material.image)] for key, material in shape.materials.items()}


def _vertex_mean(parts: tuple[ProceduralPart, ...]) -> Array:
    return np.concatenate([part.vertices for part in parts]).mean(axis=0)


def write_shape_folder(shape: ProceduralShape, folder: Path, source: dict[str, str | int]) -> None:
    """Write one shape to `folder`, whose name is the id, completely or not at all. source: stored in meta.json."""
    partial = folder.with_name(f".{folder.name}{PARTIAL}{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with write_errors(folder):
            _write_files(shape, partial, folder.name, source)
            partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_files(shape: ProceduralShape, folder: Path, name: str, source: dict[str, str | int]) -> None:
    (folder / "models").mkdir(parents=True)
    images = _save_textures(shape, folder / "images")
    low, high = shape.bounds()
    centroid = _vertex_mean(shape.parts)
    scale = 1.0 / float(np.linalg.norm(high - low))
    record = {
        "id": name,
        "max": high.tolist(),
        "min": low.tolist(),
        "centroid": centroid.tolist(),
        "numVertices": sum(len(part.vertices) for part in shape.parts),
    }
    meta = {
        "caption": shape.caption,
        "attributes": shape.attributes,
        "class": shape.class_name,
        "source": source,
    }
    models = folder / "models"
    (models / "model_normalized.obj").write_text(_obj_text(shape, centroid, scale), encoding="utf-8")
    (models / "model_normalized.mtl").write_text(_mtl_text(shape, images), encoding="utf-8")
    (models / "model_normalized.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _own(path: Path) -> bool:
    """Whether a run that was killed before it wrote its marker may have left this."""
    return is_leftover(path.name) or is_lock(path.name)


def _read_marker(out: Path) -> dict[str, int]:
    """Category → seed of the shapes in the folder; {} for a new one. Raises UserError for a foreign folder."""
    path = out / MARKER
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(not _own(path) for path in out.iterdir())):
            raise UserError(f"--out {out}: not empty and not made by this command; give a new folder with --out")
        return {}
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        version, seeds = int(marker["version"]), {str(k): int(v) for k, v in marker["seeds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a new folder with --out") from error
    if version != VERSION:
        raise UserError(
            f"{path}: made by version {version} of the shapes, this is {VERSION}; give a new folder with --out"
        )
    return seeds


def _claim(out: Path, category: str, seed: int) -> Path:
    """Record this category and seed in the folder, and return the folder of the synset."""
    seeds = _read_marker(out)
    if seeds.setdefault(category, seed) != seed:
        raise UserError(
            f"--out {out}: holds {category} shapes of seed {seeds[category]}, not {seed}; "
            f"give --seed {seeds[category]} to continue it, or a new folder with --out"
        )
    write_text(out / MARKER, json.dumps({"version": VERSION, "seeds": seeds}) + "\n")
    folder = make_folder(out / SYNSETS[category])
    for left in folder.glob(f".*{PARTIAL}*"):
        shutil.rmtree(left, ignore_errors=True)
    return folder


def _write_task(task: _Task) -> None:
    source: dict[str, str | int] = {
        "generator": "procedural",
        "version": VERSION,
        "category": task.category,
        "seed": task.seed,
        "index": task.index,
    }
    write_shape_folder(make_shape(task.category, task.seed, task.index), task.folder, source)


def _run(tasks: list[_Task], workers: int, on_shape: Callable[[], None]) -> None:
    """Write the shape of every task; on_shape is called after each. UserError at the end if one could not be made."""
    processes = workers if workers > 1 and len(tasks) > 1 else 0
    preload = ("dataset_tool.procedural.write",)
    failed = []
    for task, result in run_in_workers(_write_task, tasks, processes, initialize=_nothing, preload=preload):
        if isinstance(result, Failed):
            failed.append(f"{task.folder}: {result.cause}")
            log_failure(task.folder.name, result.traceback)
        on_shape()
    if failed:
        raise UserError(
            f"{counted(len(failed), 'shape')} of {len(tasks)} could not be made; the first: {failed[0]}; "
            "run the same command again: it makes what is missing"
        )


def _nothing() -> None:
    """No worker needs anything before its first shape."""


def write_shapes(
    category: str,
    count: int,
    seed: int,
    out: Path | str,
    *,
    workers: int = 1,
    on_shape: Callable[[], None] = lambda: None,
) -> WriteSummary:
    """Write shapes 0 … count − 1 of a category and seed to `out`, except for those that are already there.

    workers: processes. on_shape: called once for every shape, the existing ones first.
    Raises UserError for an unknown category, a count below 1, a foreign folder or one with another seed, and a folder
    that another process works in or that cannot be written.
    """
    check_category(category)
    if count < 1:
        raise UserError(f"--count {count}: expected at least 1")
    if seed < 0:
        raise UserError(f"--seed {seed}: expected 0 or more")
    out = Path(out)
    _read_marker(out)  # refuses a foreign folder before anything is written to it
    with owned_folder(out), failure_log(out / "failures.log"):
        return _write_missing(category, count, seed, out, workers, on_shape)


def _write_missing(
    category: str, count: int, seed: int, out: Path, workers: int, on_shape: Callable[[], None]
) -> WriteSummary:
    folder = _claim(out, category, seed)
    tasks = [_Task(category, seed, index, folder / shape_id(category, seed, index)) for index in range(count)]
    missing = [task for task in tasks if not task.folder.exists()]
    kept = count - len(missing)
    for _ in range(kept):
        on_shape()
    _run(missing, workers, on_shape)
    return WriteSummary(written=len(missing), kept=kept, folder=folder)
