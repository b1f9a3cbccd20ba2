"""MTL material libraries of OBJ files. Colors in MTL are sRGB values already."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mesh_io.readers.source_files import SourceFiles, decode_text, read_bytes
from mesh_io.readers.text_lines import joined_lines, parse_numbers, without_comment
from mesh_io.readers.texture_images import TextureCache
from mesh_io.source_mesh import AlphaMode, SourceMaterial
from torch_utils.errors import UserError

# Options before a texture's file name and how many words follow each; -o -s -t take one to three numbers.
OPTION_WORDS = {"-blendu": 1, "-blendv": 1, "-boost": 1, "-mm": 2, "-texres": 1, "-clamp": 1, "-bm": 1, "-imfchan": 1}
VECTOR_OPTIONS = ("-o", "-s", "-t")


@dataclass
class TextureMap:
    """A map_ statement: the file's name and its layout, uv · scale + offset, with v upward as in OBJ."""

    file: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamp: bool = False


@dataclass
class MtlEntry:
    """One newmtl block: the statements about a surface's appearance. faults: what was wrong with them, for notes."""

    name: str
    color: tuple[float, float, float] | None = None
    alpha: float = 1.0
    metallic: float | None = None
    roughness: float | None = None
    color_map: TextureMap | None = None
    alpha_map: TextureMap | None = None
    faults: list[str] = field(default_factory=list)


@dataclass
class ObjMaterials:
    """The materials that an OBJ file may use, by name."""

    files: SourceFiles
    textures: TextureCache
    entries: dict[str, MtlEntry] = field(default_factory=dict)
    _built: dict[str, tuple[SourceMaterial, TextureMap | None]] = field(default_factory=dict)

    def load(self, statement: str) -> None:
        """Read the library that `mtllib` names: one name, possibly with spaces, or several."""
        path = self.files.find_texture(statement)
        names = [statement] if path is not None else without_comment(statement).split()
        for name in names:
            path = path or self.files.find_texture(name)
            if path is None:
                self.files.warn(f"material library {name!r} is missing")
                continue
            try:
                text = decode_text(read_bytes(path))
            except UserError as error:
                self.files.warn(f"material library {name!r}: {str(error).partition(': ')[2]}")
                text = ""
            for entry in parse_mtl(text):
                self.entries.setdefault(entry.name, entry)
            path = None

    def material(self, name: str) -> tuple[SourceMaterial, TextureMap | None]:
        """The material of a `usemtl` name and the layout of its texture; white if the library has no such name."""
        if name not in self._built:
            # Some names hold a #, so it begins a comment only where that gives a name that is defined.
            entry = self.entries.get(name) or self.entries.get(without_comment(name).strip())
            if entry is None:
                if name:
                    self.files.warn(f"material {name!r} is not defined; it counts as white")
                entry = MtlEntry(name)
            self._built[name] = self._build(entry)
        return self._built[name]

    def _build(self, entry: MtlEntry) -> tuple[SourceMaterial, TextureMap | None]:
        for fault in entry.faults:
            self.files.warn(f"material {entry.name!r}: {fault}")
        image, factor = None, entry.color or (1.0, 1.0, 1.0)
        if entry.color_map is not None:
            image = self.textures.file(self._file_name(entry.color_map), entry.name)
            if image is not None or not self.textures.enabled:
                # The map replaces Kd, as in Blender: exporters write Kd 0.8, 0.64 or even 0 together with a map.
                factor = (1.0, 1.0, 1.0)
        mode: AlphaMode = "BLEND" if entry.alpha < 1 else "OPAQUE"
        if entry.alpha_map is not None:
            image = self._with_alpha(image, entry)
            mode = "BLEND" if image is not None and image.shape[2] == 4 else mode
        wrap = "clamp" if entry.color_map is not None and entry.color_map.clamp else "repeat"
        material = SourceMaterial(
            name=entry.name,
            base_color=(*factor, entry.alpha),
            image=image,
            image_name=entry.color_map.file if entry.color_map else "",
            wrap=(wrap, wrap),  # type: ignore[arg-type]
            alpha_mode=mode,
            metallic=entry.metallic,
            roughness=entry.roughness,
        )
        return material, entry.color_map or entry.alpha_map

    def _file_name(self, texture: TextureMap) -> str:
        """The name of a texture's file, without a comment unless a file with the whole name exists."""
        name = without_comment(texture.file).strip()
        return texture.file if name in ("", texture.file) or self.files.find_texture(texture.file) else name

    def _with_alpha(self, image: NDArray[np.uint8] | None, entry: MtlEntry) -> NDArray[np.uint8] | None:
        """`image` with map_d as its alpha: that file's own alpha if it has one, else its first channel."""
        assert entry.alpha_map is not None
        opacity = self.textures.file(self._file_name(entry.alpha_map), entry.name)
        if opacity is None:
            return image
        mask = opacity[..., 3] if opacity.shape[2] == 4 else opacity[..., 0]
        if image is None:
            if entry.color_map is not None:
                return None
            image = np.full((*mask.shape, 3), 255, np.uint8)
        if mask.shape != image.shape[:2]:
            size = (image.shape[1], image.shape[0])
            mask = np.asarray(Image.fromarray(np.ascontiguousarray(mask)).resize(size, Image.Resampling.BILINEAR))
        return np.concatenate([image[..., :3], mask[..., None]], axis=2)


def parse_mtl(text: str) -> list[MtlEntry]:
    """The entries of an MTL file, in order. Statements that do not concern the base color are skipped."""
    entries: list[MtlEntry] = []
    for block in joined_lines(text):
        for line in block:
            keyword, rest = _first_word(line.strip())
            keyword = keyword.lower()
            if keyword == "newmtl":
                entries.append(MtlEntry(rest))
            elif entries and rest:
                _statement(entries[-1], keyword, rest)
    return entries


def _statement(entry: MtlEntry, keyword: str, rest: str) -> None:
    if keyword == "map_kd":
        entry.color_map = parse_map(rest)
        return
    if keyword == "map_d":
        entry.alpha_map = parse_map(rest)
        return
    numbers = _numbers(without_comment(rest).split())
    if keyword == "kd":
        _set_color(entry, rest, numbers)
    elif keyword == "d" and numbers:
        entry.alpha = _unit(numbers[-1])
    elif keyword == "tr" and numbers and numbers[0] < 1:
        # Tr is 1 − d, but some exporters write d: a Tr of 1 would hide the surface and is ignored.
        entry.alpha = _unit(1 - numbers[0])
    elif keyword == "pm" and numbers:
        entry.metallic = _unit(numbers[0])
    elif keyword == "pr" and numbers:
        entry.roughness = _unit(numbers[0])


def _set_color(entry: MtlEntry, rest: str, numbers: list[float]) -> None:
    red, green, blue = ((numbers * 3)[:3] if len(numbers) < 3 else numbers[:3]) or (np.nan,) * 3
    if not np.isfinite([red, green, blue]).all():
        entry.faults.append(f"its color, Kd {rest[:40]}, is not three numbers and counts as white")
        return
    if max(red, green, blue) >= 10 and all(value == int(value) for value in (red, green, blue)):
        entry.faults.append(f"its color, Kd {rest[:40]}, is taken as 0 to 255")
        red, green, blue = red / 255, green / 255, blue / 255
    entry.color = (_unit(red), _unit(green), _unit(blue))


def parse_map(rest: str) -> TextureMap:
    """A texture statement: options, then a file name that may contain spaces."""
    result = TextureMap("")
    words = rest
    while words.startswith("-"):
        option, remainder = _first_word(words)
        if option in VECTOR_OPTIONS:
            values = _numbers(remainder.split()[:3])
            words = _after(remainder, len(values))
            values = [value for value in values if np.isfinite(value)]
            pair = (values + values)[:2] if len(values) == 1 else values[:2]
            if option == "-s" and len(pair) == 2:
                result.scale = (pair[0], pair[1])
            elif option == "-o" and values:
                result.offset = (values[0], values[1] if len(values) > 1 else 0.0)
        elif option in OPTION_WORDS:
            if option == "-clamp":
                result.clamp = remainder.split(maxsplit=1)[:1] == ["on"]
            words = _after(remainder, OPTION_WORDS[option])
        else:
            break  # a file name that starts with a dash
    result.file = words.strip()
    return result


def _first_word(text: str) -> tuple[str, str]:
    """The first word and what follows it, spaces inside the rest kept."""
    words = [*text.split(maxsplit=1), "", ""]
    return words[0], words[1]


def _after(text: str, words: int) -> str:
    """`text` without its first words, spaces inside the rest kept."""
    parts = text.split(maxsplit=words)
    return parts[words] if len(parts) > words else ""


def _numbers(words: list[str]) -> list[float]:
    """The leading words that are numbers."""
    values = []
    for word in words:
        value, wrong = parse_numbers([word])
        if wrong is not None:
            break
        values.append(float(value[0]))
    return values


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0) if value == value else 1.0
