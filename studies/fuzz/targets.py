"""What is fuzzed: for each target the files to begin with, how to change them, and how to read them."""

import json
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from configs.loader import build_config
from dataset_tool.format.dataset_json import Header, header_values, parse_header
from dataset_tool.format.pixels import decode, decode_mask
from dataset_tool.format.transforms_json import frames_json, parse_frames
from dataset_tool.sources.manifest import read_manifest
from mesh_io.read import read_mesh
from networks.generator import Generator
from networks.pretrained import load_generator_file
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS
from studies.fuzz.mutate import mutated, mutated_glb, mutated_json
from torch_utils.checkpoint import load_tensors, save_network, save_tensors
from training.run.state_file import load_state

SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
TINY = {
    "data": {"resolution": 16},
    "mapping": {"z_dim": 8, "w_dim": 8, "layers": 2},
    "backbone": {"plane_resolution": 8, "plane_channels": 4, "channel_base": 64, "channel_max": 8},
    "geometry": {"cells": 6, "hidden": 8},
    "texture": {"hidden": 8, "features": 4},
}


@dataclass(frozen=True)
class Target:
    """name: the file that is changed. beside: other files in its folder. change: a random change of one of `seeds`.

    read: called with the path; it must return or raise UserError. free_bytes: of memory, besides ten times the file.
    """

    name: str
    seeds: tuple[bytes, ...]
    change: Callable[[bytes, Sequence[bytes], random.Random], bytes]
    read: Callable[[Path], Any]
    beside: tuple[tuple[str, bytes], ...] = ()
    free_bytes: int = 200_000_000


def targets() -> dict[str, Callable[[Path], Target]]:
    """By name, functions that make a target; they are given a folder for scratch files."""
    return {
        "obj": _obj, "mtl": _mtl, "ply": _ply, "stl": _stl, "off": _off, "gltf": _gltf, "glb": _glb, "usd": _usd,
        "texture": _texture, "image": _image, "dataset": _dataset, "transforms": _transforms, "manifest": _manifest,
        "network": _network, "state": _state,
    }  # fmt: skip


def _text(words: str) -> Callable[[bytes, Sequence[bytes], random.Random], bytes]:
    known = [word.encode() for word in words.split()]
    return lambda data, others, rng: mutated(data, others, known, rng)


def _json_or_bytes(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return mutated(data, others, (b"{", b"}", b"[", b"]", b'"', b"[" * 5000), rng)
    try:
        return json.dumps(mutated_json(json.loads(data), rng)).encode()
    except (ValueError, RecursionError):
        return mutated(data, others, (), rng)


def _vertices(keyword: str = "", tail: str = "") -> str:
    return "".join(f"{keyword}{x} {y} {z}{tail}\n" for x, y, z in SQUARE)


def _obj(_: Path) -> Target:
    seeds = (
        "mtllib m.mtl\n" + _vertices("v ") + "vt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\nusemtl m\nf 1/1/1 2/2/1 3/3/1 4//1\n",
        _vertices("v ", " 1 0 0.5") + "o part\ng a b\ns off\nf 1 2 3 \\\n 4 # a comment\nf -1 -2 -3\nl 1 2\n",
        _vertices("v ") * 3 + "f 1 2 3 4 5 6 7 8\nf 9 10 11\n",
    )
    words = "v vt vn f usemtl mtllib o g s l p surf call \\ # / // -1 1/1/1 m.mtl"
    mtl = ("m.mtl", b"newmtl m\nKd 1 0 0\nmap_Kd t.png\n")
    return Target("a.obj", tuple(map(str.encode, seeds)), _text(words), read_mesh, (mtl, ("t.png", _png())))


def _mtl(_: Path) -> Target:
    seeds = ("newmtl m\nKd 1 0 0\nd 0.5\nTr 0.5\nPr 1\nPm 0\nmap_Kd -s 1 2 3 -o 0 0 -clamp on t.png\nmap_d t.png\n",)
    words = "newmtl Kd Ka d Tr Pr Pm map_Kd map_d -s -o -t -mm -clamp -bm on off t.png ../t.png spectral xyz"
    obj = "mtllib m.mtl\n" + _vertices("v ") + "vt 0 0\nusemtl m\nf 1/1 2/1 3/1\n"
    beside = (("a.obj", obj.encode()), ("t.png", _png()))
    return Target("m.mtl", tuple(map(str.encode, seeds)), _text(words), lambda p: read_mesh(p.parent / "a.obj"), beside)


def _ply(_: Path) -> Target:
    head = "ply\nformat {} 1.0\ncomment TextureFile t.png\nelement vertex 4\nproperty float x\nproperty float y\n"
    head += "property float z\n{}element face 2\nproperty list uchar int vertex_indices\n{}end_header\n"
    colors = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    wedge = "property list uchar float texcoord\nproperty int texnumber\n"
    rows = np.zeros(4, np.dtype([("p", "<f4", 3)]))
    rows["p"] = SQUARE
    faces = {
        order: b"".join(bytes([n]) + np.arange(n).astype(f"{order}i4").tobytes() for n in (3, 4)) for order in "<>"
    }
    seeds = (
        (head.format("ascii", colors, "") + _vertices("", " 255 0 9") + "3 0 1 2\n4 0 1 2 3\n").encode(),
        (head.format("ascii", "", wedge) + _vertices() + "3 0 1 2 6 0 0 1 0 1 1 0\n3 0 2 3 0 -1\n").encode(),
        head.format("binary_little_endian", "", "").encode() + rows.tobytes() + faces["<"],
        head.format("binary_big_endian", "", "").encode() + rows["p"].astype(">f4").tobytes() + faces[">"],
    )
    words = "element face vertex tristrips property list uchar int float double end_header comment 0 -1 nan"
    return Target("a.ply", seeds, _text(words), read_mesh, (("t.png", _png()),))


def _stl(_: Path) -> Target:
    facet = "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
    record = b"\0" * 12 + np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32).tobytes() + b"\0\0"
    seeds = (
        f"solid a\n{facet * 2}endsolid a\n".encode(),
        f"solid a {facet} endsolid".replace("\n", " ").encode(),
        b"solid".ljust(80) + (2).to_bytes(4, "little") + record * 2,
    )
    return Target("a.stl", seeds, _text("solid endsolid end facet normal outer loop vertex endloop"), read_mesh)


def _off(_: Path) -> Target:
    seeds = (
        f"OFF\n4 2 0\n{_vertices()}3 0 1 2 255 0 0\n4 0 1 2 3 0.5 0 1\n".encode(),
        f"COFF 4 1 0\n{_vertices('', ' 255 0 0 255')}4 0 1 2 3\n".encode(),
    )
    return Target("a.off", seeds, _text("OFF COFF NOFF STOFF 4OFF BINARY #"), read_mesh)


def _gltf(_: Path) -> Target:
    document, binary = _gltf_document()
    document["buffers"][0]["uri"] = "a.bin"
    beside = (("a.bin", binary), ("t.png", _png()))
    return Target("a.gltf", (json.dumps(document).encode(),), _json_or_bytes, read_mesh, beside)


def _glb(_: Path) -> Target:
    document, binary = _gltf_document()
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = len(text).to_bytes(4, "little") + b"JSON" + text + len(binary).to_bytes(4, "little") + b"BIN\0" + binary
    seed = b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks

    def change(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
        try:
            return mutated_glb(data, rng) if rng.random() < 0.7 else mutated(data, others, (b"JSON", b"BIN\0"), rng)
        except (ValueError, IndexError, OSError, RecursionError, struct.error):
            return mutated(data, others, (b"JSON", b"BIN\0"), rng)

    return Target("a.glb", (seed,), change, read_mesh, (("t.png", _png()),))


def _gltf_document() -> tuple[dict[str, Any], bytes]:
    """A document that uses nearly everything that is read, and its buffer."""
    arrays: list[tuple[np.ndarray, str, bool]] = [
        (np.array(SQUARE, np.float32), "VEC3", False),
        (np.array([0, 1, 2, 0, 2, 3], np.uint16), "SCALAR", False),
        (np.array([[0, 0, 1]] * 4, np.float32), "VEC3", False),
        (np.array([[0, 0], [65535, 0], [65535, 65535], [0, 65535]], np.uint16), "VEC2", True),
        (np.array([[100, 20, 60, 255]] * 4, np.uint8), "VEC4", True),
        (np.array([[0, 1, 0, 0]] * 4, np.uint8), "VEC4", False),
        (np.array([[0.5, 0.5, 0, 0]] * 4, np.float32), "VEC4", False),
        (np.array([[0, 0, 1]] * 4, np.float32), "VEC3", False),
        (np.array([[0, 0, 5], [0, 5, 0]], np.float32), "VEC3", False),
        (np.stack([np.eye(4, dtype=np.float32).reshape(16)] * 2), "MAT4", False),
    ]
    components = {"float32": 5126, "uint16": 5123, "uint8": 5121}
    binary = b""
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    for values, kind, normalized in arrays:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": values.nbytes})
        entry = {"bufferView": len(accessors), "componentType": components[values.dtype.name], "count": len(values)}
        accessors.append({**entry, "type": kind, "normalized": normalized})
        binary += values.tobytes() + b"\0" * (-values.nbytes % 4)
    plain = {"POSITION": 0, "NORMAL": 2, "TEXCOORD_0": 3, "COLOR_0": 4}
    instances = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 8}}}
    moved = {"KHR_texture_transform": {"offset": [0.5, 0], "rotation": 1.0, "scale": [2, 2]}}
    skinned = {"attributes": {**plain, "JOINTS_0": 5, "WEIGHTS_0": 6}, "indices": 1, "targets": [{"POSITION": 7}]}
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, 2]}, {"nodes": [1]}],
        "nodes": [
            {"mesh": 0, "children": [1], "extensions": instances, "rotation": [0, 0, 0, 1], "scale": [1, 2, 1]},
            {"translation": [0, 1, 0]},
            {"mesh": 1, "skin": 0, "weights": [0.5]},
        ],
        "skins": [{"joints": [0, 1], "inverseBindMatrices": 9}],
        "meshes": [
            {"primitives": [{"attributes": plain, "indices": 1, "material": 0}, {"attributes": plain, "mode": 5}]},
            {"primitives": [skinned]},
        ],
        "materials": [
            {
                "pbrMetallicRoughness": {"baseColorTexture": {"index": 0, "extensions": moved}},
                "alphaMode": "MASK",
                "alphaCutoff": 0.5,
            }
        ],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"wrapS": 33071}],
        "images": [{"uri": "t.png"}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
        "extensionsUsed": ["EXT_mesh_gpu_instancing"],
    }
    return document, binary


def _usd(_: Path) -> Target:
    mesh = "int[] faceVertexCounts = [4]\nint[] faceVertexIndices = [0, 1, 2, 3]\n"
    mesh += "point3f[] points = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]\n"
    mesh += "color3f[] primvars:displayColor = [(1, 0, 0)]\ntexCoord2f[] primvars:st = [(0, 0)]\n"
    seed = f'#usda 1.0\n( upAxis = "Z" )\ndef Xform "a" {{\ndef Mesh "m" {{\n{mesh}}}\n}}\n'
    return Target("a.usda", (seed.encode(),), _text("def Mesh over class { } [ ] ( ) @ < >"), read_mesh)


def _texture(_: Path) -> Target:
    obj = "mtllib m.mtl\n" + _vertices("v ") + "vt 0 0\nusemtl m\nf 1/1 2/1 3/1\n"
    beside = (("a.obj", obj.encode()), ("m.mtl", b"newmtl m\nmap_Kd t.png\n"))
    return Target(
        "t.png", _images(), _text("IHDR IDAT IEND PLTE tRNS"), lambda p: read_mesh(p.parent / "a.obj"), beside
    )


def _image(_: Path) -> Target:
    def read(path: Path) -> None:
        data = path.read_bytes()
        decode(data, str(path), foreign=True)
        decode_mask(data, str(path))

    return Target("000.png", _images(), _text("IHDR IDAT IEND PLTE tRNS"), read)


def _dataset(_: Path) -> Target:
    header = Header(
        category="chair", classes=("a", "b"), labels={"s0": 1}, resolution=16, views=2, splits={"train": ("s0", "s1")}
    )
    seed = json.dumps(header_values(header)).encode()
    return Target("dataset.json", (seed,), _json_or_bytes, lambda path: parse_header(path.read_bytes(), str(path)))


def _transforms(_: Path) -> Target:
    cameras = CAMERA_DISTRIBUTIONS["chair"].sample(0, range(2))
    text = frames_json(cameras, ["000.png", "001.png"], 16, ["a.png", "b.png"])
    other = {"camera_angle_x": 0.7, "frames": [{"file_path": "a", "transform_matrix": np.eye(4).tolist()}]}
    seeds = (text.encode(), json.dumps(other).encode())
    return Target("transforms.json", seeds, _json_or_bytes, lambda path: parse_frames(path.read_bytes(), str(path)))


def _manifest(_: Path) -> Target:
    rows = {"models": [{"path": "a.glb", "id": "a", "caption": "x", "up": "+Y", "front": 90, "split": "train"}]}
    seeds = (json.dumps(rows).encode(), json.dumps({"a": {"name": "x"}, "b": "b.glb"}).encode())
    return Target("manifest.json", seeds, _json_or_bytes, read_manifest)


def _network(scratch: Path) -> Target:
    torch.manual_seed(0)
    config = build_config(TINY, "fuzz")
    save_network(scratch / "seed.safetensors", Generator(config), config.model_dump(mode="json"), 0)
    seed = (scratch / "seed.safetensors").read_bytes()
    # A network is also built, with its grid: more than its file.
    return Target("network.safetensors", (seed,), _tensors(scratch), load_generator_file, free_bytes=500_000_000)


def _state(scratch: Path) -> Target:
    config = build_config(TINY, "fuzz")
    header = {"kind": "training-state", "nimg": 8, "config": config.model_dump(mode="json"), "counters": {"skipped": 0}}
    save_tensors(scratch / "seed.safetensors", {"generator/w": torch.ones(3)}, header)
    beside = (("latest.json", json.dumps({"state": "state-00000008.safetensors", "nimg": 8}).encode()),)
    seed = (scratch / "seed.safetensors").read_bytes()
    read = lambda path: load_state(path.parent, {}, config)  # noqa: E731
    return Target("state-00000008.safetensors", (seed,), _tensors(scratch), read, beside)


def _tensors(scratch: Path) -> Callable[[bytes, Sequence[bytes], random.Random], bytes]:
    """Half of the changes are to the header, with a checksum that fits: bytes alone never get past it."""

    def change(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return mutated(data, others, (b"{", b"}", b"F32", b"data_offsets"), rng)
        path = scratch / "change.safetensors"
        path.write_bytes(others[0])
        tensors, header = load_tensors(path)
        header = mutated_json({key: value for key, value in header.items() if key != "checksum"}, rng)
        save_tensors(path, tensors, header if isinstance(header, dict) else {"x": header})
        return path.read_bytes()

    return change


def _png() -> bytes:
    return _images()[0]


def _images() -> tuple[bytes, ...]:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    made = []
    for image, form in (
        (Image.fromarray(pixels), "PNG"),
        (Image.fromarray(pixels), "JPEG"),
        (Image.fromarray(pixels[..., 0].astype(np.uint16)), "PNG"),
        (Image.fromarray(pixels[..., 0] % 2), "PNG"),
        (Image.fromarray(pixels[..., 0].astype(np.float32)), "TIFF"),
        (Image.fromarray(pixels).convert("P"), "GIF"),
        (Image.fromarray(pixels).convert("RGBA"), "WEBP"),
    ):
        buffer = BytesIO()
        image.save(buffer, form)
        made.append(buffer.getvalue())
    return tuple(made)
