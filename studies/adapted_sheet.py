"""The image of text control in the README: samples of a network, and of what prompts made of it.

python -m studies.adapted_sheet runs/red runs/blue runs/green runs/wooden --out docs/images/adapted.png
"""

from pathlib import Path

import click
import torch

from networks.pretrained import load_generator_file, network_file
from rendering.images import save_png
from sampling.style_images import preview_shading
from studies.plain_errors import PlainErrors
from torch_utils.checkpoint import read_header
from torch_utils.errors import UserError
from training.adapt.sheet import labeled_rows, sheet_images


@click.command(cls=PlainErrors)
@click.argument("networks", nargs=-1, required=True, metavar="NETWORKS...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A PNG.")
def main(networks: tuple[str, ...], out: Path) -> None:
    """Draw seeds 0 to 7 of the source of NETWORKS, then of each of NETWORKS of `tetragan adapt`, a row each."""
    adapted = {network: adaptation(network) for network in networks}
    sources = {(facts["network"], facts["source"]) for facts in adapted.values()}
    if len(sources) > 1:
        raise UserError(f"the networks have {len(sources)} sources; expected one")
    [(source, made)] = sources
    titles = {source: f"{Path(source).stem}: {made}"}
    titles |= {network: f"{facts['method']}: {facts['prompt']}" for network, facts in adapted.items()}
    rows = []
    for network, title in titles.items():
        generator, file = load_generator_file(network, torch.device("cpu"))
        rows.append((title, sheet_images(generator, preview_shading(file.header.get("shading")))))
    save_png(out, labeled_rows(rows))
    click.echo(f"{out}: {len(rows)} rows of {len(rows[0][1])} samples")


def adaptation(network: str) -> dict[str, str]:
    """What a network was adapted to, by its header. UserError where it was not."""
    facts = read_header(network_file(network)).get("adapted")
    if not isinstance(facts, dict) or not facts.get("prompt"):
        raise UserError(f"{network}: is no network that tetragan adapt moved to one prompt")
    return {name: str(facts[name]) for name in ("network", "source", "method", "prompt")}


if __name__ == "__main__":
    main()
