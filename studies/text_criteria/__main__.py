"""Do adapted networks make what their prompts say, and keep the rest? The criteria of text control, as a table.

    python -m studies.text_criteria --network chair-64 --out out/text_criteria runs/*/network.safetensors

NETWORKS are what `tetragan adapt` wrote; their headers name prompt, method and seed. Networks of one prompt and method
are averaged. clip-b, which guides no adaptation, says what the images show. Writes criteria.md, criteria.json and a
sheet of each prompt. Exit status 1 where a criterion is missed.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from guidance.clip import Clip, load_clip
from networks.generator import Generator
from networks.pretrained import INCLUDED, load_generator, load_generator_file
from rendering.camera import orbit_cameras
from rendering.images import save_png, to_uint8
from sampling.styles import styles_of_seeds
from studies.plain_errors import PlainErrors
from studies.text_criteria.criteria import (
    Criterion,
    TextFigures,
    check_criteria,
    criteria_json,
    criteria_markdown,
    mean_figures,
    passes_criteria,
)
from studies.text_criteria.figures import (
    GRAY,
    Views,
    change,
    color_distance,
    diversity,
    out_of_gamut,
    recolored,
    structure,
)
from studies.text_criteria.targets import Target, parse_target, reference_colors
from studies.text_criteria.zero_shot import named_category, named_values, share
from torch_utils.errors import UserError
from torch_utils.files import write_json, write_text
from torch_utils.progress import progress_bar
from training.adapt.sheet import labeled_rows

AZIMUTHS_DEG, ELEVATION_DEG, SIDE, SUPERSAMPLE = (35.0, 215.0), 20.0, 64, 2
BATCH, SHOWN, LIGHT = 8, 8, 0.94
SOURCE, ORACLE = "source", "oracle"


@dataclass(frozen=True)
class Drawn:
    """The views of an adapted network, and what its header says of it."""

    prompt: str
    method: str
    views: Views


def draw_adapted(path: Path, count: int) -> Drawn:
    """An adapted network's samples. UserError for a network that is not adapted."""
    generator, file = load_generator_file(path)
    said = file.header.get("adapted")
    if not isinstance(said, dict) or "prompt" not in said:
        raise UserError(f"{path}: is not adapted to a prompt; expected a network of `tetragan adapt`")
    kept = said.get("keep", ())
    method = str(said.get("method", "adapted")) + (f", {' and '.join(kept)} kept" if kept else "")
    return Drawn(str(said["prompt"]), method, draw_views(generator, count))


@torch.no_grad()
def draw_views(generator: Generator, count: int, truncation: float = 1.0) -> Views:
    """Samples 0 … count of a generator, front and back, base colors without light."""
    cameras, parts = orbit_cameras(AZIMUTHS_DEG, ELEVATION_DEG), []
    with progress_bar("samples", count) as advance:
        for start in range(0, count, BATCH):
            seeds = range(start, min(start + BATCH, count))
            w_geo, w_tex = styles_of_seeds(generator, seeds, truncation)
            every = type(cameras).cat([cameras] * len(seeds))
            drawn = generator.render(w_geo, w_tex, every, GRAY, SIDE, SUPERSAMPLE)
            shape = (len(seeds), len(AZIMUTHS_DEG))
            parts.append((drawn.rgb.unflatten(0, shape) / 2 + 0.5, drawn.mask.unflatten(0, shape)))
            for _ in seeds:
                advance()
    return Views(torch.cat([rgb for rgb, _ in parts]), torch.cat([mask for _, mask in parts]))


def text_figures(clip: Clip, views: Views, source: Views, target: Target, others: Sequence[Target]) -> TextFigures:
    """All figures of a generator's views. others: the targets that it was not adapted to."""
    found = named_values(clip, views, target)
    rivals = [other.value for other in others if other.attribute == target.attribute and other.value != target.value]
    references = reference_colors(target)
    return TextFigures(
        accuracy=share(found, target.value),
        color=None if references is None else color_distance(views, references),
        structure=structure(views, source),
        gamut=out_of_gamut(views),
        diversity=diversity(views),
        category=share(named_category(clip, views), "chair"),
        wrong=max((share(found, rival) for rival in rivals), default=0.0),
        change=change(views, source),
    )


def sheet(shown: Mapping[str, Views]) -> np.ndarray:
    """The first samples of each in its first view: a row each, under its name."""
    rows = []
    for name, views in shown.items():
        images = views.over(LIGHT).unflatten(0, views.rgb.shape[:2])[:SHOWN, 0]
        rows.append((name, to_uint8(torch.nn.functional.interpolate(images * 2 - 1, scale_factor=2))))
    return labeled_rows(rows)


@dataclass(frozen=True)
class PromptResult:
    """Of one prompt: figures and criteria by name (source, oracle, methods), and the views for its sheet."""

    figures: dict[str, TextFigures]
    criteria: dict[str, list[Criterion]]
    shown: dict[str, Views]


def check_prompt(
    clip: Clip, source: Views, drawn: Sequence[Drawn], target: Target, others: Sequence[Target]
) -> PromptResult:
    """The criteria of all methods of one prompt; networks of a method are averaged."""
    references = reference_colors(target)
    oracle = None if references is None else recolored(source, references.mean(0))
    fixed = {SOURCE: source} if oracle is None else {SOURCE: source, ORACLE: oracle}
    figures = {name: text_figures(clip, views, source, target, others) for name, views in fixed.items()}
    shown = dict(fixed)
    for method in dict.fromkeys(each.method for each in drawn):
        own = [each.views for each in drawn if each.method == method]
        figures[method] = mean_figures([text_figures(clip, views, source, target, others) for views in own])
        shown[method] = own[0]
    criteria = {name: check_criteria(each, figures[SOURCE], figures.get(ORACLE)) for name, each in figures.items()}
    return PromptResult(figures, criteria, shown)


@click.command(cls=PlainErrors)
@click.argument("networks", nargs=-1, type=click.Path(path_type=Path), required=True)
@click.option("--network", default="chair-64", show_default=True, help="The source, before any adaptation.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the table and the sheets.")
@click.option(
    "--clip",
    "clip_folder",
    type=click.Path(path_type=Path),
    default=INCLUDED / "priors" / "clip-b",
    show_default="the included clip-b",
    help="Folder of a CLIP that guided nothing.",
)
@click.option("--count", default=64, show_default=True, help="Samples of each network.")
def main(networks: tuple[Path, ...], network: str, out: Path, clip_folder: Path, count: int) -> None:
    """Check NETWORKS against the criteria of text control."""
    torch.set_num_threads(1)
    clip = load_clip(clip_folder)
    generator = load_generator(network)
    source = draw_views(generator, count)
    drawn = [draw_adapted(path, count) for path in networks]
    targets = {each.prompt: parse_target(each.prompt) for each in drawn}
    results = {}
    for prompt, target in targets.items():
        others = [other for other in targets.values() if other != target]
        results[prompt] = check_prompt(clip, source, [each for each in drawn if each.prompt == prompt], target, others)
    write_results(
        out,
        results,
        [f"{count} samples of {network} and of each network, front and back, named by {clip_folder.name}."],
    )
    missed = [
        f"{prompt}: {method}"
        for prompt, result in results.items()
        for method, criteria in result.criteria.items()
        if method not in (SOURCE, ORACLE) and not passes_criteria(criteria)
    ]
    if missed:
        click.echo(f"missed by {'; '.join(missed)}", err=True)
        sys.exit(1)


def write_results(out: Path, results: Mapping[str, PromptResult], notes: Sequence[str]) -> None:
    """criteria.md, which is also printed, criteria.json and the sheets."""
    text = criteria_markdown({prompt: result.criteria for prompt, result in results.items()}, notes)
    write_text(out / "criteria.md", text)
    write_json(out / "criteria.json", criteria_json({prompt: result.figures for prompt, result in results.items()}))
    for number, result in enumerate(results.values()):
        save_png(out / f"sheet-{number}.png", sheet(result.shown))
    click.echo(text)


if __name__ == "__main__":
    main()
