"""`tetragan train`."""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tetragan.options import PATH, device_option, out_option, quiet_option, set_option

if TYPE_CHECKING:
    from configs.schema import Config
    from torch_utils.distributed import Ranks
    from training.initialize import InitSource
    from training.run.run_folder import RunFolder


@click.command()
@click.option(
    "--config",
    "config_name",
    help="A preset (chair, chair-128) or a YAML file.  [default: the configuration of --init or --resume]",
)
@click.option("--data", type=PATH, help="Dataset: a folder or zip of `tetragan dataset render`.")
@out_option("Folder of the run.", required=False)
@set_option
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option(
    "--init",
    type=PATH,
    help="Start from a run's folder, a network file, the name of an included network, or a training state.",
)
@click.option(
    "--discriminators",
    type=PATH,
    help="With --init: take the discriminators from this run, state or network instead.",
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything, train a few steps, print time and memory; write nothing."
)
@click.option("--benchmark", is_flag=True, help="Print images per second and the share of each phase; write nothing.")
@device_option()
@quiet_option
def train(
    config_name: str | None,
    data: Path | None,
    out: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    init: Path | None,
    discriminators: Path | None,
    dry_run: bool,
    benchmark: bool,
    device: str,
    quiet: bool,
) -> None:
    """Train a generator on a dataset of views.

    Several processes (GPUs, nodes): torchrun --nproc-per-node N -m tetragan train …
    """
    _check_options(config_name, data, out, resume, init, discriminators, dry_run=dry_run, benchmark=benchmark)

    from torch_utils import distributed
    from training.initialize import InitSource
    from training.run.run_folder import RunFolder

    folder = RunFolder(out) if out is not None else None
    # torchrun starts the same command again after a failure (--max-restarts).
    resume = resume or (folder is not None and distributed.restarted() and folder.holds_run())
    if folder is not None and not resume:
        folder.refuse_run()
    config = _config(config_name, overrides, init, folder if resume else None)
    source = None if init is None else InitSource(init, discriminators)
    ranks = distributed.start(device)
    if init is not None and config_name is None and ranks.first and not quiet:
        _say_taken_over(config, init)
    try:
        if folder is None or dry_run or benchmark:
            from training.benchmark import benchmark_run, dry_run_report

            click.echo(benchmark_run(config, data, ranks) if benchmark else dry_run_report(config, data, source, ranks))
            return

        assert data is not None and out is not None, "checked above"
        complete, nothing_left = _train(config, data, folder, ranks, resume=resume, init=source, quiet=quiet)
    finally:
        distributed.stop(ranks)
    if ranks.first:
        _say_what_next(data, out, config.training.total_kimg, complete, nothing_left, quiet)
    if not complete:
        sys.exit(130)


def _train(
    config: "Config",
    data: Path,
    folder: "RunFolder",
    ranks: "Ranks",
    *,
    resume: bool,
    init: "InitSource | None",
    quiet: bool,
) -> tuple[bool, bool]:
    """Open the dataset and run to the end. Whether it got there, and whether nothing was left to do."""
    from torch_utils.cache_folder import cache_folder
    from torch_utils.process import prepare_process
    from torch_utils.progress import progress_bar
    from training.data import named_after, open_data
    from training.loop import run_training, start_run

    prepare_process(config.training.threads, ranks.device)
    bar = partial(progress_bar, "decoding views", quiet=quiet)
    opened = open_data(data, config, cache=cache_folder(), ranks=ranks, bar=bar)
    with folder.owned(ranks, resume=resume), folder.write_errors():
        if resume:
            folder.check_data(opened)
        else:
            config = named_after(opened, config)
        run = start_run(config, opened, folder, ranks, resume=resume, init=init, quiet=quiet)
        nothing_left = run.progress.nimg >= run.total_nimg
        return run_training(run), nothing_left


def _say_taken_over(config: "Config", init: Path) -> None:
    """Besides the network, --init without --config takes over how long and on how many threads it was trained."""
    training = config.training
    click.echo(
        f"note: without --config, all settings that --set leaves alone are those of {init}; "
        f"training.total_kimg={training.total_kimg:g}, training.threads={training.threads}",
        err=True,
    )


def _say_what_next(data: Path, out: Path, total_kimg: float, complete: bool, nothing_left: bool, quiet: bool) -> None:
    """How to continue a run that was stopped or had been complete before; what to do with one that is complete now."""
    again = f"tetragan train --data {shlex.quote(str(data))} --out {shlex.quote(str(out))} --resume"
    if not complete:
        click.echo(f"Stopped; the state is saved. Continue with: {again}", err=True)
    elif nothing_left:
        longer = f"{again} --set training.total_kimg={2 * total_kimg:g}"
        click.echo(f"The run was complete already ({total_kimg:g} kimg). Train further with, e.g.: {longer}", err=True)
    elif not quiet:
        network = shlex.quote(str(out / "network.safetensors"))
        click.echo(f"Done. Samples: tetragan generate --network {network} --out samples", err=True)


def _check_options(
    config_name: str | None,
    data: Path | None,
    out: Path | None,
    resume: bool,
    init: Path | None,
    discriminators: Path | None,
    *,
    dry_run: bool,
    benchmark: bool,
) -> None:
    """UsageError if an option is missing or contradicts another."""
    if resume and (init or dry_run or benchmark):
        raise click.UsageError("--resume continues a run: leave out --init, --dry-run and --benchmark")
    if discriminators and not init:
        raise click.UsageError("--discriminators goes with --init, which names the generator")
    if data is None and not benchmark:
        raise click.UsageError("--data is missing: give the folder or zip that `tetragan dataset render` wrote")
    if out is None and not (dry_run or benchmark):
        raise click.UsageError("--out is missing: give a folder for the run")
    if config_name is None and not (resume or init):
        raise click.UsageError("--config is missing: give a preset such as chair, or a YAML file")


def _config(
    config_name: str | None, overrides: tuple[str, ...], init: Path | None, resumed: "RunFolder | None"
) -> "Config":
    """The configuration of a new or of a resumed run."""
    if resumed is not None:
        return resumed.resumed_config(config_name, overrides)
    if init is not None and config_name is None:
        from training.initialize import config_of

        return config_of(init, overrides)
    from configs.loader import load_config

    return load_config(config_name or "", overrides)
