"""The `tetragan` command: a lazy click group that imports a verb's module only when it is called."""

import errno
import importlib
import logging
import os
import signal
import sys
import threading
from typing import NoReturn

import click

from tetragan import hidden_package
from tetragan.groups import SuggestingGroup
from tetragan.terminal import use_any_terminal

# verb → (module, attribute, help). The help stands here so that `tetragan --help` imports nothing.
VERBS = {
    "dataset": ("tetragan.dataset", "dataset", "Make, render, pack, check and look at datasets of views."),
    "train": ("tetragan.train", "train", "Train a generator on a dataset."),
    "generate": ("tetragan.generate", "generate", "Sample textured meshes and an image grid from a network."),
    "interpolate": ("tetragan.interpolate", "interpolate", "Interpolate between samples: images, video, meshes."),
    "swap": ("tetragan.swap", "swap", "Show every shape with every texture, in one table."),
    "perturb": ("tetragan.perturb", "perturb", "Vary one sample, the nearest variations first."),
    "directions": ("tetragan.directions", "directions", "Find what the styles vary: principal axes, attributes."),
    "project": ("tetragan.project", "project", "Find the samples that look like images or meshes."),
    "turntable": ("tetragan.turntable", "turntable", "Turn samples around in a video."),
    "adapt": ("tetragan.adapt", "adapt", "Move a network towards a prompt, with a diffusion model's help."),
    "texture": ("tetragan.texture", "texture", "Texture a mesh from posed images or words; its UVs stay."),
    "view": ("tetragan.view", "view", "Play with a network on a local page, which also has an API."),
    "export": ("tetragan.export", "export", "Copy a network to a file, also of half the size, or to a folder."),
    "evaluate": ("tetragan.evaluate", "evaluate", "Measure a network or a folder of meshes against a dataset."),
    "diagnose": (
        "tetragan.diagnose",
        "diagnose",
        "Find what a network does not make: missing shapes, and the classes that cost most.",
    ),
    "info": ("tetragan.info", "info", "Show the layers, parameters, cost and memory of a preset or network."),
    "doctor": ("tetragan.doctor", "doctor", "Show what is installed and active, and how to fix the rest."),
}


class LazyGroup(SuggestingGroup):
    """A click group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the help text."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a verb's module and return its command; None where there is no such verb."""
        if name not in VERBS:
            return None
        module, attribute, _ = VERBS[name]
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs of --help, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, _, text) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tetragan")
def cli() -> None:
    """TetraGAN: textured 3D meshes from one random latent, learned from 2D views of one category."""


def main() -> None:
    """Run the command line. A user's mistake is one line and exit status 2, never a traceback."""
    use_any_terminal()
    hidden = hidden_package()
    if hidden:
        _fail(hidden)
    from torch_utils.errors import UserError

    if os.environ.get("RANK", "0") == "0":  # under torchrun one rank speaks for all
        logging.basicConfig(format="%(message)s")
        logging.getLogger("configs").setLevel(logging.INFO)
    _stop_in_order()
    threading.excepthook = _thread_failed
    try:
        cli(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(_system_error(error))
    except MemoryError:
        _fail("not enough memory; try fewer workers, a smaller batch or a smaller resolution")
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # click takes any for the end of the terminal's input
            raise error.__cause__ from None
        ended = isinstance(error.__cause__ or error, Ended)
        click.echo("Ended by a signal." if ended else "Interrupted.", err=True)
        sys.exit(143 if ended else 130)


def _system_error(error: OSError) -> str:
    """An error of the system that no part of the program expected, as one line."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {reason}"
    if error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
        sys.stdout = None  # it cannot be written, and must not fail once more at exit
        return f"standard output: {reason}"
    return reason


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP: as Ctrl-C, so that locks and temporary files are removed."""


def _stop_in_order() -> None:
    def end(number: int, frame: object) -> None:
        raise Ended

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, end)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Say nothing of a writing thread's OSError, such as TensorBoard's: the main thread gets and reports it."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
