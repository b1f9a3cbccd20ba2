"""Options that several verbs share, declared once."""

import functools
import gc
import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sampling.mesh_export import MeshSettings

PATH = click.Path(path_type=Path)
Decorator = Callable[[Any], Any]


class Shard(click.ParamType):
    """ "i/n" with 0 ≤ i < n."""

    name = "i/n"

    def convert(self, value, param, ctx):
        """(i, n) of its text; a usage error for any other text."""
        if isinstance(value, tuple):
            return value
        index, _, count = value.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            self.fail(f"expected i/n with 0 <= i < n, e.g. 0/4, got {value!r}", param, ctx)
        return int(index), int(count)


network_option: Decorator = click.option(
    "--network",
    required=True,
    metavar="NETWORK",
    help="A network file, the folder of a run or of a network, or the name of an included network.",
)
truncation_option: Decorator = click.option(
    "--truncation",
    type=click.FloatRange(0, 2),
    default=0.7,
    show_default=True,
    help="ψ: 1 gives the full variety, 0 the average shape.",
)
class_option: Decorator = click.option(
    "--class", "label", type=click.IntRange(0), help="Class of a conditional network.  [default: in turn]"
)
resolution_option: Decorator = click.option(
    "--resolution", type=click.IntRange(16, 2048), help="Side of an image, px.  [default: twice the training images']"
)
unlit_option: Decorator = click.option(
    "--unlit", is_flag=True, help="Show the bare colors on black, instead of lit shapes on light gray."
)
cells_option: Decorator = click.option(
    "--cells",
    type=click.IntRange(4, 1024),
    help="Cells along a side of the grid that meshes are extracted from.  [default: those of the training]",
)
vary_option: Decorator = click.option(
    "--vary",
    type=click.Choice(["both", "shape", "texture"]),
    default="both",
    show_default=True,
    help="What changes; the other stays that of the first sample.",
)
set_option: Decorator = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a setting, e.g. loss.gamma=10; may be repeated.",
)
quiet_option: Decorator = click.option("--quiet", is_flag=True, help="Print no progress, only what needs attention.")


def device_option(default: str = "auto") -> Decorator:
    """--device, a name that `torch_utils.devices.pick_device` checks."""
    return click.option(
        "--device", default=default, show_default=True, help="Where to compute: auto, cpu, cuda or cuda:N."
    )


def out_option(description: str, *, required: bool = True, folder: bool = False) -> Decorator:
    """--out. folder: refuse a file of that name."""
    kind = click.Path(path_type=Path, file_okay=not folder)
    return click.option("--out", type=kind, required=required, help=description)


def seeds_option(default: str) -> Decorator:
    """--seeds, which `sampling.latents.parse_seeds` reads; None where it is not given, for verbs with --latents."""
    return click.option("--seeds", help=f"Seeds to sample: numbers and ranges, e.g. 0-15,20.  [default: {default}]")


class SplitShares(click.ParamType):
    """ "90/5/5": percentages of train, val and test."""

    name = "train/val/test"

    def convert(self, value, param, ctx):
        """The three shares, which sum to 1."""
        from dataset_tool.format.splits import parse_shares

        return value if isinstance(value, tuple) else parse_shares(value)


shares_option: Decorator = click.option(
    "--split", "shares", type=SplitShares(), help="Shares of train, val and test, e.g. 90/5/5.  [default: 70/10/20]"
)


latents_option: Decorator = click.option(
    "--latents",
    "latents_files",
    multiple=True,
    type=PATH,
    help="Samples of a file of `tetragan project` or `adapt --mode single`; may be repeated.",
)


def move_options(verb: Any) -> Any:
    """--directions, a file of `tetragan directions`, and --move."""
    file = click.option("--directions", "directions_file", type=PATH, help="A file of `tetragan directions`.")
    move = click.option(
        "--move",
        "moves",
        multiple=True,
        metavar="NAME[:STEPS]",
        help="Move the samples along a direction, e.g. type=armchair:2, or by its full step; may be repeated.",
    )
    return file(move(verb))


def video_options(default: str | None) -> Decorator:
    """--video, the format of a video or None, and --fps."""
    formats = click.Choice(["mp4", "webp", "gif"])
    described = "Format of the video." if default else "Also write a video, in this format."
    video = click.option("--video", type=formats, default=default, show_default=default is not None, help=described)
    fps = click.option(
        "--fps", type=click.FloatRange(1, 60), default=24.0, show_default=True, help="Frames per second."
    )
    return lambda verb: video(fps(verb))


@dataclass(frozen=True)
class SamplerOptions:
    """What every verb that samples a network takes; `sampler_options` declares them."""

    network: str
    truncation: float
    label: int | None
    cells: int | None
    out: Path | None
    resolution: int | None
    unlit: bool
    workers: int | None
    overwrite: bool
    device: str
    precision: str
    quiet: bool


def sampler_options(verb: Callable[..., None], *, random: bool = True) -> Callable[..., None]:
    """Declare the options of `SamplerOptions`, and pass them to the verb as `options`.

    random: False leaves out what only random samples need, truncation and class.
    """
    fixed: dict[str, Any] = {} if random else {"truncation": 1.0, "label": None}

    @functools.wraps(verb)
    def collected(**values: Any) -> None:
        values |= fixed
        own = {entry.name: values.pop(entry.name) for entry in fields(SamplerOptions)}
        _import_sampling()
        verb(options=SamplerOptions(**own), **values)

    for option in reversed(
        [
            network_option,
            *([truncation_option, class_option] if random else []),
            cells_option,
            click.option(
                "--out",
                type=click.Path(path_type=Path, file_okay=False),
                help="Folder for the results.  [default: out/<network>]",
            ),
            resolution_option,
            unlit_option,
            click.option(
                "--workers",
                type=click.IntRange(1, 256),
                help="Number of processes.  [default: one per core, at most 16]",
            ),
            click.option("--overwrite", is_flag=True, help="Replace what another network or other settings made."),
            device_option(),
            click.option(
                "--precision",
                type=click.Choice(["fp32", "bf16", "auto"]),
                default="fp32",
                show_default=True,
                help="Precision of the convolutions. bf16 is faster for large networks; auto picks by processor.",
            ),
            quiet_option,
        ]
    ):
        collected = option(collected)
    return collected


def _import_sampling() -> None:
    """Import what every sampler needs without the garbage collector, which would take a seventh of the time.

    What was imported stays, so it is not looked at later either, nor copied by the processes that are forked.
    """
    gc.disable()
    try:
        for module in ("sampling.sample_run", "tetragan.sampler"):
            importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def mesh_options(default_format: str) -> Decorator:
    """Declare the options of `MeshSettings`, and pass them to the verb as `meshes`; None for --format none."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def collected(**values: Any) -> None:
            own = {name: values.pop(name) for name in _MESH_OPTIONS}
            verb(meshes=lambda: _mesh_settings(**own), **values)

        for option in reversed(_MESH_OPTIONS.values()):
            collected = option(collected)
        return click.option(
            "--format",
            "file_format",
            type=click.Choice(["glb", "obj", "usdz", "ply", "stl", "splats", "none"]),
            default=default_format,
            show_default=True,
            help="File format of the meshes. splats: Gaussian splats in a PLY file. none: no meshes.",
        )(collected)

    return decorate


_MESH_OPTIONS: dict[str, Decorator] = {
    "file_format": lambda verb: verb,  # declared by `mesh_options`, with its default
    "texture_size": click.option(
        "--texture-size", type=click.IntRange(64, 8192), default=1024, show_default=True, help="Side of a texture, px."
    ),
    "faces": click.option(
        "--faces", default="8000", show_default=True, metavar="N|full", help="Simplify to at most N faces, or keep all."
    ),
    "lods": click.option(
        "--lods",
        type=click.IntRange(1, 8),
        default=1,
        show_default=True,
        help="Levels of detail, each of half the faces of the one before.",
    ),
    "normal_map": click.option("--normal-map", is_flag=True, help="Bake the full surface's normals into a texture."),
    "pivot": click.option(
        "--pivot",
        type=click.Choice(["floor", "center", "source"]),
        default="floor",
        show_default=True,
        help="What lies at the origin: the middle of the base, the center, or the generator's own origin.",
    ),
    "height_m": click.option(
        "--height", "height_m", type=click.FloatRange(1e-4, 1e4), metavar="METERS", help="Scale to this height."
    ),
    "largest": click.option("--largest-component", "largest", is_flag=True, help="Drop all smaller components."),
    "watertight": click.option("--watertight", is_flag=True, help="Write closed meshes only; name the others."),
    "hulls": click.option("--hulls", is_flag=True, help="Also write convex collision hulls (needs coacd)."),
    "webp": click.option("--webp", is_flag=True, help="Lossless WebP textures: smaller, but fewer viewers open them."),
    "draco": click.option("--draco", is_flag=True, help="Draco compression: smaller, but fewer viewers open it."),
}


def _mesh_settings(file_format: str, texture_size: int, faces: str, webp: bool, **others: Any) -> "MeshSettings | None":
    """The settings, checked. click.UsageError for a --faces that is not a number of at least 12."""
    from geometry.simplification import MIN_FACES
    from sampling.mesh_export import MeshSettings

    if faces != "full" and not (faces.isdecimal() and int(faces) >= MIN_FACES):
        raise click.UsageError(f"--faces {faces}: expected a number of at least {MIN_FACES}, or full")
    if file_format == "none":
        return None
    settings = MeshSettings(
        file_format,  # type: ignore[arg-type]  # click has checked it
        texture_size,
        None if faces == "full" else int(faces),
        image_format="webp" if webp else "png",
        **others,
    )
    settings.check()
    return settings
