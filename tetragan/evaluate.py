"""`tetragan evaluate`."""

import sys
from pathlib import Path

import click

folder_or_file = click.Path(path_type=Path, exists=False)


@click.command()
@click.option("--network", type=folder_or_file, help="A network file, or a included network's name, to sample.")
@click.option("--meshes", "generated", type=folder_or_file, help="A folder of meshes to measure instead of a network.")
@click.option("--data", type=folder_or_file, help="The dataset to measure against.")
@click.option(
    "--reference-meshes", type=folder_or_file, help="A folder of meshes to measure against, or the dataset's."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Output folder; results in it are reused."
)
@click.option("--protocol", default="quick", show_default=True, help="A protocol's name, or one's own YAML file.")
@click.option("--split", default="test", show_default=True, help="The dataset's split to measure against.")
@click.option("--count", type=click.IntRange(1), help="At most this many references (fewer generated shapes too).")
@click.option("--truncation", type=click.FloatRange(0, 2), help="ψ of the generator; default: the protocol's.")
@click.option("--detector", help="TorchScript file or URL, or transformers folder, for image scores.")
@click.option("--detector-hash", help="SHA-256 of the TorchScript file.")
@click.option("--normals", is_flag=True, help="Also compare images of normals (shading FID); needs a detector.")
@click.option("--clip", type=folder_or_file, help="A transformers CLIP folder, for CMMD, CLIP score and R-precision.")
@click.option(
    "--classifier", type=folder_or_file, help="A transformers classifier folder, for attributes of the shapes."
)
@click.option("--caption", default="", help="What all generated shapes were asked to be, for --clip.")
@click.option(
    "--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="What they were asked for, for --classifier."
)
@click.option("--require", "requirements", multiple=True, help="E.g. 'cov_cd>40'; unmet ones set exit status 1.")
@click.option("--compare", type=folder_or_file, nargs=2, help="Two report.json files side by side; measures nothing.")
@click.option("--cache", type=click.Path(path_type=Path), help="Where statistics of real data are kept.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--quiet", is_flag=True, help="No progress.")
def evaluate(compare: tuple[Path, Path] | None, requirements: tuple[str, ...], **options) -> None:
    """Measure a network, or a folder of meshes, against a dataset or another folder.

    Writes report.json, report.md and report.html. The same command again reuses what it finds in --out.
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
            raise click.UsageError("give --data DATASET or --reference-meshes FOLDER to measure against")
        if options["out"] is None:
            raise click.UsageError("give --out FOLDER for the report")
        lines = unmet(run_evaluation(Options(**options)), wanted)
    for line in lines:
        click.echo(f"Requirement not met: {line}", err=True)
    if lines:
        sys.exit(1)
