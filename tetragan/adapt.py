"""`tetragan adapt`: a trained generator that makes what a prompt says."""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tetragan.options import PATH, device_option, out_option, quiet_option

if TYPE_CHECKING:
    import torch

    from training.adapt.settings import AdaptSettings

_KEEP = ("structure", "distances", "discriminators")
_METHODS = ["dds", "sds", "asd", "nfsd", "csd", "ism", "hifa", "vsd", "rfds", "rfds-rev", "clip", "pgsd"]


def _names(values: tuple[str, ...]) -> tuple[str, ...]:
    """The names of --keep, whose values may be lists with commas."""
    names = tuple(dict.fromkeys(name.strip() for value in values for name in value.split(",")))
    wrong = next((name for name in names if name not in _KEEP), None)
    if wrong is not None:
        raise click.BadParameter(f"expected {', '.join(_KEEP[:-1])} or {_KEEP[-1]}, got {wrong!r}")
    return names


@click.command()
@click.option("--network", metavar="NETWORK", help="A network file, a folder, or the name of an included network.")
@click.option("--mode", type=click.Choice(["shift", "mapping", "single"]), help="What learns.  [default: shift]")
@click.option("--prompt", help='What it should make, such as "a red chair".')
@click.option("--source", help='What it makes now.  [default: "a" and the category of the network]')
@click.option("--prompts-file", type=PATH, help="Several prompts, one a line: one network each, in folders of --out.")
@click.option("--data", type=PATH, help="With --mode mapping: a dataset, whose captions are the prompts.")
@out_option("Folder for the adapted network, its sheets and its report.", folder=True)
@click.option(
    "--prior", help="Folder of a diffusion model or a CLIP, or the name of an included prior.  [default: pixel]"
)
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    help="How the prior guides; pgsd is for --photos.  "
    "[default: dds; clip with a CLIP; pgsd with photos and a large prior]",
)
@click.option("--part", type=click.Choice(["texture", "geometry", "both"]), help="What may change.  [default: both]")
@click.option(
    "--keep",
    multiple=True,
    metavar="|".join(_KEEP),
    callback=lambda _, __, values: _names(values),
    help="What must stay: light and dark detail, how unlike samples are, or how real they look to the discriminators; "
    "or several, with commas.",
)
@click.option("--steps", type=click.IntRange(1, 1_000_000), help="Of the optimizer.  [default: by the prior's size]")
@click.option("--guidance-scale", "scale", type=click.FloatRange(0), help="How much the prompt counts.")
@click.option("--sample", type=click.IntRange(0), help="With --mode single: the seed where it begins.  [default: 0]")
@click.option(
    "--reference", help="With --mode single, in place of words: an RGBA image, or a folder with transforms.json."
)
@click.option(
    "--photos",
    type=PATH,
    help="With --mode single: folder of 3 to 5 images of one object, which --prompt names and the sample shall look "
    "like. They need alpha or a plain background.",
)
@click.option(
    "--photo-steps",
    type=click.IntRange(1, 100_000),
    help="Steps in which the prior learns the photos.  [default: 400 for priors of 256 px and more, else 200]",
)
@click.option("--camera", help="A distribution by name or a YAML file.  [default: that of the network's category]")
@click.option("--resume", is_flag=True, help="Continue the adaptation in --out, also to more --steps.")
@click.option(
    "--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Change a setting, e.g. batch=4; may be repeated."
)
@device_option()
@quiet_option
def adapt(
    out: Path,
    prompts_file: Path | None,
    steps: int | None,
    resume: bool,
    overrides: tuple[str, ...],
    device: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Move a whole generator towards a prompt. The result is an ordinary network, for all commands.

    With --mode mapping, one network learns all prompts of --prompts-file, whose lines may be templates such as
    "a {red|blue} chair", or the captions of --data; `tetragan generate --prompt` then names one. With --mode single,
    one sample moves to a prompt, to an image, to posed views or to photos, and is written as a GLB.

    --set changes batch, resolution, supersample, rate, background, negative, second_prior, clip, screened, seed,
    precision, threads and keep_weight; with --mode mapping also text_encoder; with --mode single also planes,
    truncation, view_deg and, with --photos, bootstrap_rounds.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    alone = resume and prompts_file is None and "network" not in given
    if alone and (given or overrides):
        names = [f"--{'guidance-scale' if name == 'scale' else name.replace('_', '-')}" for name in given] or ["--set"]
        raise click.UsageError(
            f"--resume continues with the settings of {out}: leave out {', '.join(names)}, or repeat the whole command"
        )

    from torch_utils.devices import pick_device
    from training.adapt.loop import resumed_settings

    where = pick_device(device)
    if alone:
        jobs = [(resumed_settings(out, steps), out)]
    else:
        jobs = _new(out, prompts_file, given, steps, overrides, resume)
    if not _run(jobs, where, quiet):
        more = "" if prompts_file is None else " with the same options and"
        click.echo(f"Stopped; the state is saved. Continue{more} with --resume --out {shlex.quote(str(out))}", err=True)
        sys.exit(130)


def _new(
    out: Path,
    prompts_file: Path | None,
    given: dict[str, Any],
    steps: int | None,
    overrides: tuple[str, ...],
    resume: bool,
) -> "list[tuple[AdaptSettings, Path]]":
    """The settings and the folder of each prompt; with `resume`, those that have begun go on."""
    from networks.pretrained import RUN_NETWORK_NAME, WEIGHTS_NAME
    from training.adapt.loop import holds_adaptation, resumed_settings
    from training.adapt.settings import new_settings, prompt_folders, read_prompts

    if "network" not in given:
        raise click.UsageError("--network is missing: name a network file, a folder or an included network")
    if "photos" in given:
        _check_photos(given, prompts_file)
    goals = [name in given for name in ("prompt", "reference", "data")]
    if sum(goals) + (prompts_file is not None) != 1:
        raise click.UsageError("adapt: give one of --prompt, --prompts-file, --data and --reference")
    if "data" in given and given.get("mode") != "mapping":
        raise click.UsageError("--data: its captions are for one network of many prompts; add --mode mapping")
    given |= {name: str(given[name]) for name in ("data", "photos") if name in given}
    prompts = [given.pop("prompt", None)] if prompts_file is None else read_prompts(prompts_file)
    more = {} if steps is None else {"steps": steps}
    if given.get("mode") == "mapping" and "data" not in given:
        from training.adapt.mapping import expanded

        every = tuple(dict.fromkeys(text for prompt in prompts for text in expanded(prompt or "")))
        said = every[0] if len(every) == 1 else f"{len(every)} prompts"
        given["prompts"], prompts, prompts_file = every, [said], None
    folders = [out] if prompts_file is None else [out / name for name in prompt_folders(prompts)]
    jobs = []
    for prompt, folder in zip(prompts, folders, strict=True):
        if holds_adaptation(folder) and not resume:
            raise click.UsageError(f"--out {folder}: holds an adaptation; add --resume, or give another folder")
        networks = (folder / name for name in (RUN_NETWORK_NAME, WEIGHTS_NAME))
        if any(file.exists() for file in networks) and not holds_adaptation(folder):
            raise click.UsageError(f"--out {folder}: holds a network; give another folder")
        goal = {} if prompt is None else {"prompt": prompt}
        settings = new_settings({**given, **more, **goal}, overrides)
        jobs.append((resumed_settings(folder, steps, settings) if holds_adaptation(folder) else settings, folder))
    return jobs


def _check_photos(given: dict[str, Any], prompts_file: Path | None) -> None:
    """UsageError for photos that do not go with other options."""
    other = next((name for name in ("reference", "data", "source") if name in given), None)
    if other is not None or prompts_file is not None:
        raise click.UsageError(f"--photos: leave out --{other or 'prompts-file'}; --prompt names what the photos show")
    if "prompt" not in given:
        raise click.UsageError('--photos: add --prompt with what they show, such as "a chair"')


def _run(jobs: "list[tuple[AdaptSettings, Path]]", device: "torch.device", quiet: bool) -> bool:
    """Run one job after another; False if one was stopped."""
    from torch_utils.locks import owned_folder
    from torch_utils.process import prepare_process
    from torch_utils.progress import progress_bar
    from training.adapt.guide import open_guide
    from training.adapt.loop import holds_adaptation, memory_advice, run_job
    from training.adapt.mapping_job import mapping_job
    from training.adapt.photos import photo_guide
    from training.adapt.shift_job import shift_job
    from training.adapt.single_job import single_job
    from training.photos.read import read_photos

    say = partial(_say, quiet=quiet)
    guide = None
    prepare_process(jobs[0][0].threads, device)
    for settings, folder in jobs:
        with owned_folder(folder), memory_advice(settings, device, folder):
            photos = read_photos(Path(settings.photos)) if settings.photos else None
            for note in () if photos is None else photos.notes:
                say(f"note: {note}")
            if guide is None and settings.prompt:
                guide = open_guide(settings, device)
                for note in guide.notes:
                    say(f"note: {note}")
            if guide is not None:
                for word in guide.unknown_words(settings.prompts or (settings.prompt,)):
                    say(f"note: the prior does not know {word!r}; it takes all such words for the same one")
            if settings.mode == "single":
                learned = None
                if photos is not None:
                    assert guide is not None, "photos have a prompt"
                    bar = partial(progress_bar, quiet=quiet)
                    learned = photo_guide(guide, photos, settings, folder, bar, say)
                job = single_job(settings, guide, device, learned, say)
            else:
                assert guide is not None, "a shift has a prompt"
                job = (mapping_job if settings.mode == "mapping" else shift_job)(settings, guide, device)
            if not run_job(job, folder, quiet=quiet, resume=holds_adaptation(folder), say=say):
                return False
        click.echo(f"{folder}: {settings.goal} from {settings.source!r}; report.html shows it")
    return True


def _say(text: str, *, quiet: bool) -> None:
    if not quiet:
        click.echo(text, err=True)
