"""`tetragan dataset`: from meshes to checked training views."""

import os
from pathlib import Path

import click

from tetragan.groups import SuggestingGroup
from tetragan.options import PATH, Shard, device_option, out_option, quiet_option, shares_option
from torch_utils.text import counted

LAYOUTS = ["auto", "folder", "shapenet-v1", "shapenet-v2"]
POSITIVE = click.FloatRange(0, min_open=True)


def _note(line: str) -> None:
    click.echo(f"note: {line}", err=True)


@click.group(cls=SuggestingGroup)
def dataset() -> None:
    """Make, render, pack, check and look at datasets of views."""


@dataset.command()
@click.option("--category", default="chair", show_default=True, help="chair, table, car, lamp, mug or plane.")
@click.option("--count", type=click.IntRange(1), required=True, help="Number of shapes.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other shapes.")
@out_option("Folder for the meshes, in ShapeNet's layout.")
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes; 0 = one per core.")
@quiet_option
def procedural(category: str, count: int, seed: int, out: Path, workers: int, quiet: bool) -> None:
    """Make parametric textured meshes of a category, with captions."""
    from dataset_tool.procedural.write import write_shapes
    from torch_utils.progress import progress_bar

    with progress_bar(f"making {category}s", count, quiet=quiet) as advance:
        summary = write_shapes(category, count, seed, out, workers=workers or os.cpu_count() or 1, on_shape=advance)
    kept = f", {counted(summary.kept, 'was', 'were')} there" if summary.kept else ""
    click.echo(
        f"{counted(summary.written, f'{category} mesh', f'{category} meshes')} written to {summary.folder}{kept}"
    )
    click.echo(f"next: tetragan dataset render {out} --out DATASET --camera {category}")


@dataset.command()
@click.argument("source", type=PATH)
@out_option("Folder of the dataset; a killed run continues.")
@click.option("--resolution", type=click.IntRange(16, 4096), default=64, show_default=True, help="Side of a view, px.")
@click.option("--views", type=click.IntRange(1, 1000), default=24, show_default=True, help="Views per shape.")
@click.option(
    "--camera", default="chair", show_default=True, help="A camera distribution's name (chair, car, …) or a YAML file."
)
@click.option(
    "--shading",
    type=click.Choice(["albedo", "soft", "pbr", "normals"]),
    default="albedo",
    show_default=True,
    help="Base colors, softly lit ones, metallic-roughness surfaces under an environment, or normals as colors.",
)
@click.option(
    "--light",
    default="studio",
    show_default=True,
    metavar="studio|sky|random|FILE",
    help="soft: studio or sky. pbr: studio, random (one of 64 for each view), or an equirectangular .hdr or .png.",
)
@click.option("--occlusion", is_flag=True, help="Darken corners in soft and pbr shading (ambient occlusion).")
@click.option(
    "--renderer",
    type=click.Choice(["built-in", "blender"]),
    default="built-in",
    show_default=True,
    help="Blender's Cycles needs an environment of its own: make blender.",
)
@click.option(
    "--samples", type=click.IntRange(1, 4096), default=32, show_default=True, help="Samples per pixel, for Cycles."
)
@device_option("cpu")
@click.option(
    "--supersample",
    type=click.Choice(["1", "2", "4"]),
    default="2",
    show_default=True,
    help="Raster samples along each side of a pixel.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    help="Longest side of a shape, world units.  [default: by --camera]",
)
@click.option("--fit", is_flag=True, help="Shrink shapes that would not fit into the images.")
@click.option(
    "--visible-points",
    is_flag=True,
    help="Store surface points only where they can be seen from outside; scores then leave out interiors.",
)
@click.option("--category", help="Category of the shapes.  [default: their class, if all have the same]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of cameras and points.")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["png", "webp"]),
    default="png",
    show_default=True,
    help="File format of the views; both are lossless.",
)
@click.option(
    "--extra",
    "extras",
    type=click.Choice(["depth", "normal", "mask", "material"]),
    multiple=True,
    help="Further images to store; may be repeated.",
)
@click.option("--manifest", type=PATH, help="CSV or JSON that names shapes, captions, classes, axes.")
@click.option("--layout", type=click.Choice(LAYOUTS), default="auto", show_default=True, help="Layout of SOURCE.")
@click.option("--split-lists", type=PATH, help="Folder with train.txt, val.txt, test.txt.")
@shares_option
@click.option("--up", help="Up axis of the sources, e.g. +Z.")
@click.option("--front", help="Front of the sources: an axis, or the degrees that turn it to +Z.")
@click.option("--class", "class_name", help="Class of all shapes.")
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes of one thread each; 0 = one per core.")
@click.option("--shard", type=Shard(), help="Only every n-th shape from the i-th on; torchrun sets it.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "native", "reference"]),
    default="auto",
    show_default=True,
    help="Rasterizer backend.",
)
@click.option("--allow-outside", is_flag=True, help="Meshes may name textures outside SOURCE.")
@quiet_option
def render(source: Path, out: Path, camera: str, supersample: str, workers: int, quiet: bool, **options) -> None:
    """Render meshes to posed RGBA views.

    SOURCE is a folder of meshes, a ShapeNet tree or a manifest. Shapes that cannot be read are listed at the end; the
    others are rendered. The result depends on the files and the options alone, not on their order, the workers or the
    shards.
    """
    from dataset_tool.render.render_dataset import DEFAULT_SCALE, SCALES, render_dataset
    from dataset_tool.render.render_shape import RenderSettings
    from dataset_tool.sources.find_shapes import find_shapes
    from rendering.camera_distribution import load_camera_distribution
    from torch_utils.devices import parse_device, pick_device, share_cards
    from torch_utils.progress import progress_bar

    if options["shares"] and options["split_lists"]:
        raise click.UsageError("--split and --split-lists: give one; the lists say which shape is in which split")
    camera_distribution = load_camera_distribution(camera)
    # Blender finds its own devices, whatever torch was built for.
    built_in = options["renderer"] == "built-in"
    device = share_cards(pick_device(options["device"])) if built_in else parse_device(options["device"])
    names = ["resolution", "views", "shading", "light", "occlusion", "renderer", "samples", "fit", "seed"]
    names += ["image_format", "backend", "allow_outside", "visible_points"]
    settings = RenderSettings(
        camera_distribution=camera_distribution,
        scale=options["scale"] or SCALES.get(camera_distribution.name, DEFAULT_SCALE),
        supersample=int(supersample),
        extras=tuple(sorted(set(options["extras"]))),
        device=str(device),
        **{name: options[name] for name in names},
    )
    settings.check()
    described = ("layout", "manifest", "split_lists", "up", "front", "class_name")
    sources = find_shapes(source, note=_note, **{name: options[name] for name in described})
    shard = options["shard"] or (int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    cores = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    try:
        with progress_bar("rendering", len(sources[shard[0] :: shard[1]]), quiet=quiet) as advance:
            result = render_dataset(
                sources,
                out,
                settings,
                category=options["category"],
                workers=workers or cores,
                shard=shard,
                shares=options["shares"],
                on_shape=lambda _: advance(),
            )
    except KeyboardInterrupt:
        click.echo(f"stopped; the shapes in {out} are whole: run the same command to continue", err=True)
        raise
    _report(result, out)


def _report(result, out: Path) -> None:
    """Print the remarks and failures of each shape, then the counts."""
    from dataset_tool.format.splits import few_shapes_advice, split_counts

    for shape_id, warnings in sorted(result.warnings.items()):
        for warning in warnings:
            click.echo(f"note: {shape_id}: {warning}", err=True)
    for shape_id, failure in sorted(result.failures.items()):
        click.echo(f"failed: {shape_id}: {failure}", err=True)
    counts = [f"{counted(len(result.rendered), 'shape')} rendered to {out}"]
    counts += [f"{counted(len(result.skipped), 'was', 'were')} there"] if result.skipped else []
    if result.failures:
        logs = ", tracebacks in failures.log" if (out / "failures.log").exists() else ""
        counts.append(f"{len(result.failures):,} failed (listed above and in {out / 'failures.json'}{logs})")
    click.echo(", ".join(counts))
    click.echo(split_counts(result.splits))
    for line in few_shapes_advice(result.splits):
        click.echo(line)


@dataset.command()
@click.argument("data", type=PATH)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@quiet_option
def check(data: Path, strict: bool, quiet: bool) -> None:
    """Verify images, cameras and splits; exit status 2 for errors."""
    from dataset_tool.check import check_dataset
    from dataset_tool.dataset import open_dataset
    from torch_utils.errors import UserError
    from torch_utils.progress import progress_bar

    opened = open_dataset(data)
    with progress_bar("checking", len(opened.shape_ids()), quiet=quiet) as advance:
        findings = check_dataset(opened, advance)
    groups: dict[tuple[str, str], list] = {}
    for finding in findings:
        groups.setdefault((finding.level, finding.kind), []).append(finding)
    if groups:
        click.echo(f"{'level':8} {'what':30} {'shapes':>6}  first")
    for (level, kind), group in groups.items():
        first = " ".join(part for part in (group[0].where, group[0].detail) if part)
        click.echo(f"{level:8} {kind:30} {len({f.where for f in group}):6d}  {first}")
    errors = sum(finding.level == "error" for finding in findings)
    shapes = len(opened.shape_ids())
    total = f"{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}"
    click.echo(f"{counted(shapes, 'shape')}: {total}")
    if errors or (strict and findings):
        raise UserError(f"{data}: {total}; see the table above")


@dataset.command()
@click.argument("data", type=PATH)
def info(data: Path) -> None:
    """Print what DATA holds."""
    from dataset_tool.dataset import open_dataset
    from rendering.camera_distribution import dump_camera_distribution

    opened = open_dataset(data)
    header = opened.header
    counts = ", ".join(f"{name} {len(ids)}" for name, ids in opened.splits.items())
    camera_distribution = {
        key: value for key, value in dump_camera_distribution(header.camera_distribution).items() if value
    }
    rows = {
        "category": header.category,
        "shapes": f"{len(opened.shape_ids())} ({counts})",
        "views": f"{header.views} of {header.resolution} px, {header.image_format}",
        "classes": ", ".join(header.classes) or "none (unconditional)",
        "cameras": ", ".join(f"{key} {value}" for key, value in camera_distribution.items()),
        "renderer": ", ".join(f"{key} {value}" for key, value in header.renderer.items()),
        "seed": str(header.seed),
        "hash": opened.hash(),
    }
    for name, value in rows.items():
        click.echo(f"{name:9} {value}")


@dataset.command()
@click.argument("data", type=PATH)
@out_option("sheet.html (one file, offline) or sheet.png")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="[default: all]")
@click.option("--shapes", type=click.IntRange(1), default=24, show_default=True, help="Shapes shown.")
@click.option("--views", type=click.IntRange(1), default=8, show_default=True, help="Views of each.")
@click.option("--side", type=click.IntRange(16), default=128, show_default=True, help="Side of an image, px.")
@click.option("--columns", type=click.IntRange(1), default=1, show_default=True, help="Shapes per row of a PNG.")
def sheet(data: Path, out: Path, split: str | None, shapes: int, views: int, side: int, columns: int) -> None:
    """Draw a contact sheet of DATA."""
    from dataset_tool.contact_sheet import choose, write_html_contact_sheet, write_png_contact_sheet
    from dataset_tool.dataset import open_dataset

    kind = out.suffix.lower()
    if kind not in (".html", ".htm", ".png"):
        raise click.UsageError(f"--out: expected a name ending in .html or .png, got {out}")
    opened = open_dataset(data)
    chosen = choose(opened, split, shapes)
    if kind == ".png":
        write_png_contact_sheet(opened, chosen, out, views=views, side=side, columns=columns, note=_note)
    else:
        write_html_contact_sheet(opened, chosen, out, views=views, side=side, note=_note)
    click.echo(f"sheet: {out}")


@dataset.command()
@click.argument("data", type=PATH)
@out_option("The zip, or the folder of shards.")
@click.option("--shard-size", type=click.IntRange(1), help="Write a folder of tar files of about so many MB instead.")
@quiet_option
def pack(data: Path, out: Path, shard_size: int | None, quiet: bool) -> None:
    """Pack DATA into one zip or shards, which every command reads."""
    from dataset_tool.dataset import open_dataset
    from dataset_tool.edit import pack as pack_dataset
    from dataset_tool.edit import packed_shapes
    from torch_utils.progress import progress_bar

    opened = open_dataset(data)
    count = len(packed_shapes(opened))
    with progress_bar("packing", count, quiet=quiet) as advance:
        pack_dataset(opened, out, advance, shard_size and shard_size * 10**6)
    click.echo(f"{counted(count, 'shape')} packed into {out}")


@dataset.command()
@click.argument("data", type=PATH, nargs=-1, required=True)
@out_option("A new folder; files are linked where possible.")
@quiet_option
def merge(data: tuple[Path, ...], out: Path, quiet: bool) -> None:
    """Merge datasets of equal settings; every shape keeps its split."""
    from dataset_tool.dataset import open_dataset
    from dataset_tool.edit import merge as join_datasets
    from torch_utils.progress import progress_bar

    opened = [open_dataset(path) for path in data]
    with progress_bar("merging", sum(len(each.shape_ids()) for each in opened), quiet=quiet) as advance:
        header = join_datasets(opened, out, advance)
    click.echo(f"{_counts(header)} in {out}")


@dataset.command()
@click.argument("data", type=PATH)
@click.option("--lists", type=PATH, help="Folder with train.txt, val.txt, test.txt.  [default: by hash of the ids]")
@shares_option
def split(data: Path, lists: Path | None, shares: tuple[float, float, float] | None) -> None:
    """Split DATA, a folder, again; no image changes."""
    from dataset_tool.edit import resplit
    from dataset_tool.format.splits import SHARES
    from dataset_tool.sources.split_lists import read_split_lists

    if lists and shares:
        raise click.UsageError("--split and --lists: give one; the lists say which shape is in which split")
    header = resplit(data, None if lists is None else read_split_lists(lists), shares or SHARES)
    click.echo(f"{_counts(header)} in {data}")


@dataset.command()
@click.argument("data", type=PATH)
@out_option("A new folder; files are linked where possible.")
@click.option("--split", "splits", type=click.Choice(["train", "val", "test"]), multiple=True, help="Only these.")
@click.option("--ids", type=PATH, help="Text file with one id per line.")
@click.option("--class", "class_name", help="Only shapes of this class.")
@click.option("--count", type=click.IntRange(1), help="At most this many shapes of each split.")
@quiet_option
def subset(data: Path, out: Path, ids: Path | None, quiet: bool, **conditions) -> None:
    """Copy some shapes of DATA, with their splits, to a new dataset."""
    from dataset_tool.dataset import open_dataset
    from dataset_tool.edit import subset as copy_some
    from dataset_tool.sources.split_lists import read_split_lists
    from torch_utils.progress import progress_bar

    opened = open_dataset(data)
    wanted = None if ids is None else [name for part in read_split_lists(ids).values() for name in part]
    with progress_bar("copying", len(opened.shape_ids()), quiet=quiet) as advance:
        header = copy_some(opened, out, ids=wanted, on_shape=advance, **conditions)
    click.echo(f"{_counts(header)} in {out}")


def _counts(header) -> str:
    parts = ", ".join(f"{name} {len(ids)}" for name, ids in header.splits.items())
    return f"{counted(sum(len(ids) for ids in header.splits.values()), 'shape')} ({parts})"


@dataset.command()
@click.argument("folder", type=PATH)
@click.option("--layout", type=click.Choice(["get3d", "nerf", "eg3d"]), help="Layout of FOLDER.  [default: detected]")
@click.option("--category", default="object", show_default=True, help="Category of the shapes.")
@click.option("--up", help="Up axis of its world, if it is not the usual one.")
@click.option("--front", help="Front of its world: an axis, or degrees.")
@click.option("--world-scale", type=POSITIVE, help="Factor from its units to ours.  [default: by framing]")
@click.option(
    "--alpha", type=click.Choice(["straight", "premultiplied"]), help="How its images store alpha.  [default: straight]"
)
@click.option(
    "--masks", type=click.Choice(["white", "black"]), help="Value of the object in its masks.  [default: white]"
)
def convert(folder: Path, **options) -> None:
    """Make data of GET3D, nerfstudio or EG3D readable in place."""
    from dataset_tool.sources.convert import Assumptions
    from dataset_tool.sources.convert import convert as convert_folder
    from dataset_tool.sources.orientation import parse_front

    front = options.pop("front")
    failures: dict[str, str] = {}
    assumed = Assumptions(front=None if front is None else parse_front(front), **options)
    header = convert_folder(folder, assumed, note=_note, failed=failures.__setitem__)
    for name, reason in failures.items():
        click.echo(f"failed: {name}: {reason}", err=True)
    again = f"listed above; fix it, remove {folder / 'dataset.json'} and convert again"
    left_out = f", {len(failures):,} left out ({again})" if failures else ""
    click.echo(
        f"{_counts(header)} of {counted(header.views, 'view')}, "
        f"{header.resolution} px, layout {header.renderer['layout']}{left_out}"
    )
    click.echo(f"next: tetragan dataset check {folder}")
