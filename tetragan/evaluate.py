"""`tetragan evaluate`."""

import os
import sys
from pathlib import Path

import click

from tetragan.options import PATH, device_option, out_option, quiet_option


@click.command()
@click.option(
    "--network",
    type=PATH,
    help="A network file, the folder of a run or of a network, or the name of an included network.",
)
@click.option("--meshes", "generated", type=PATH, help="A folder of meshes to evaluate instead of a network.")
@click.option("--data", type=PATH, help="The dataset to compare with.")
@click.option(
    "--reference-meshes",
    type=PATH,
    help="A folder of meshes to compare with, or of the dataset's source meshes.",
)
@out_option("Output folder; intermediate results in it are reused.", required=False, folder=True)
@click.option(
    "--protocol",
    default="quick",
    show_default=True,
    help="What is compared and how: the name of a protocol, or a YAML file.",
)
@click.option("--split", default="test", show_default=True, help="The split of the dataset to compare with.")
@click.option("--count", type=click.IntRange(1), help="Compare with at most this many references.")
@click.option("--truncation", type=click.FloatRange(0, 2), help="ψ of the generator.  [default: the protocol's]")
@click.option("--detector", help="Detector for image scores: lite0, a TorchScript file or URL, or a model folder.")
@click.option("--detector-hash", help="SHA-256 of the TorchScript file.")
@click.option(
    "--normals", is_flag=True, help="Also score normals: their images, with a detector, and roughness; needs meshes."
)
@click.option("--clip", type=PATH, help="A transformers folder of a CLIP, for CMMD, CLIP score and R-precision.")
@click.option("--classifier", type=PATH, help="A transformers folder of an image classifier, for attributes.")
@click.option("--caption", default="", help="The caption of all generated shapes, for --clip.")
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    metavar="NAME=VALUE",
    help="An attribute of all generated shapes, for --classifier.",
)
@click.option(
    "--require", "requirements", multiple=True, help="E.g. 'cov_cd>40'. Exit status 1 if a requirement is not met."
)
@click.option("--compare", type=PATH, nargs=2, help="Print two report.json files side by side; evaluates nothing.")
@click.option("--cache", type=PATH, help="Cache for results on real data.")
@device_option()
@quiet_option
def evaluate(compare: tuple[Path, Path] | None, requirements: tuple[str, ...], **options) -> None:
    """Compare a network or a folder of meshes with a dataset or another folder.

    Writes report.json, report.md and report.html. Running the command again reuses intermediate results in --out.
    """
    from metrics.report.compare import comparison, parse_requirement, unmet

    wanted = [parse_requirement(text) for text in requirements]
    if compare:
        from metrics.report.report_schema import load_report

        a, b = load_report(compare[0]), load_report(compare[1])
        click.echo(comparison(a, b, (str(compare[0]), str(compare[1]))), nl=False)
        lines = unmet(b, wanted)
    else:
        from metrics.evaluate import Options, run_evaluation

        if (options["network"] is None) == (options["generated"] is None):
            raise click.UsageError("give one of --network FILE and --meshes FOLDER")
        if options["data"] is None and options["reference_meshes"] is None:
            raise click.UsageError("give --data DATASET or --reference-meshes FOLDER to compare with")
        if options["out"] is None:
            raise click.UsageError("give --out FOLDER for the report")
        lines = unmet(run_evaluation(Options(**options)), wanted)
        if os.environ.get("RANK", "0") != "0":
            return  # torchrun would end the first rank, which still writes, if this one had status 1
    for line in lines:
        click.echo(f"Requirement not met: {line}", err=True)
    if lines:
        sys.exit(1)
