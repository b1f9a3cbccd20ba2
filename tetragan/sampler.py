"""What the verbs that sample a network share: opening it, its folder, running the jobs, and the last lines."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tetragan.options import SamplerOptions
from torch_utils.text import counted

if TYPE_CHECKING:
    from sampling.mesh_export import MeshSettings
    from sampling.sample_folder import SampleFolder
    from sampling.sample_run import Outcome
    from sampling.samples import Sample
    from sampling.trained_generator import TrainedGenerator


class Sampler:
    """One command's network, folder and options. `run` makes its samples."""

    def __init__(
        self, options: SamplerOptions, meshes: "Callable[[], MeshSettings | None] | None", record_name: str
    ) -> None:
        from networks.grid_memory import check_cells, memory_line
        from sampling.sample_run import default_folder, default_workers, one_thread
        from sampling.trained_generator import load
        from torch_utils.devices import pick_device
        from torch_utils.failures import failure_log
        from torch_utils.locks import owned_folder

        self.options, self.record_name = options, record_name
        self.settings = None if meshes is None else meshes()
        self.device = pick_device(options.device)
        with one_thread():  # several would take longer to start than to load
            self.generator: TrainedGenerator = load(options.network, precision=options.precision, cells=options.cells)
        self.out = options.out or default_folder(self.generator)
        self.workers = options.workers or default_workers()
        if options.cells is not None:
            check_cells(self.generator.network.config, 1, self.device, copies=self.workers)
            click.echo(memory_line(self.generator.network.config, self.workers))
        if options.label is not None and options.label >= self.generator.classes:
            classes = self.generator.classes
            known = f"its classes are 0 to {classes - 1}" if classes else "it is unconditional"
            raise click.UsageError(f"--class {options.label}: the network has no such class; {known}")
        # Nobody else writes there until the command ends.
        click.get_current_context().with_resource(owned_folder(self.out))
        click.get_current_context().with_resource(failure_log(self.out / "failures.log"))

    def run(
        self,
        samples: "Sequence[Sample]",
        names: Sequence[str],
        facts: Mapping[str, Any] | None = None,
        *,
        what: str = "samples",
        draw_all: bool = False,
    ) -> "Outcome":
        """Make the samples. draw_all: an image of each, not of the first 64 only. facts: see `guard`."""
        from sampling.sample_jobs import ImageStyle, SampleMaker
        from sampling.sample_run import MAX_GRID, jobs_of, one_thread, run_jobs
        from sampling.style_images import preview_shading
        from torch_utils.progress import progress_bar

        options, generator = self.options, self.generator
        shading = preview_shading(generator.header.get("shading"))
        style = ImageStyle.of(options.resolution or 2 * generator.resolution, shading, unlit=options.unlit)
        folder = self.guard(facts or {})
        maker = SampleMaker(generator.network, folder.path, self.settings, style, generator.shaded)
        jobs = jobs_of(samples, names, folder.made_by, len(samples) if draw_all else MAX_GRID)
        with one_thread(), progress_bar(what, len(jobs), quiet=options.quiet) as advance:
            outcome = run_jobs(
                maker,
                folder,
                jobs,
                workers=self.workers,
                device=self.device,
                replace_files=options.overwrite,
                progress=advance,
            )
        if self.settings is not None:
            kept = f", {outcome.kept} were there already" if outcome.kept else ""
            made = counted(outcome.made, "mesh", "meshes")
            click.echo(f"{self.out}: {made} ({self.settings.file_format}){kept}; {self.record_name}")
        return outcome

    def loaded(self, files: Sequence[Path]) -> "tuple[list[str], list[Sample], dict[str, Any]]":
        """Names and samples of --latents, and what the record says of them."""
        from sampling.style_file import load_styles
        from torch_utils.files import file_hash

        parts = [load_styles(path, self.generator) for path in files]
        names = [name for own, _ in parts for name in own]
        if len(set(names)) < len(names):
            raise click.UsageError(f"--latents: two samples have one name, of {', '.join(names)}")
        hashes = {str(path): file_hash(path) for path in files}
        return names, [sample for _, own in parts for sample in own], {"latents": hashes}

    def moved(
        self, samples: "Sequence[Sample]", directions_file: Path | None, moves: Sequence[str]
    ) -> "tuple[Sequence[Sample], dict[str, Any]]":
        """The samples of --directions and --move, and what the record says of that."""
        from sampling.directions import load_directions

        if (directions_file is None) != (not moves):
            raise click.UsageError("--directions and --move belong together")
        if directions_file is None:
            return samples, {}
        directions = load_directions(directions_file, self.generator)
        steps = directions.moves(moves)
        return [directions.moved(sample, steps) for sample in samples], {"moves": steps}

    def guard(self, facts: Mapping[str, Any]) -> "SampleFolder":
        """Open the folder for this command; facts: what its record says of all samples. UserError if it is foreign."""
        from sampling.sample_folder import SampleFolder
        from sampling.sample_run import made_by

        options = self.options
        own: dict[str, Any] = {"truncation": options.truncation, "class": options.label, "precision": options.precision}
        if options.cells is not None:
            own["cells"] = options.cells
        shared = made_by(self.generator, self.settings, own | dict(facts))
        return SampleFolder.open(self.out, self.record_name, shared, overwrite=options.overwrite)

    def save_image(self, name: str, image: Any, text: str) -> Path:
        """Write an image to the folder and say so."""
        from rendering.images import save_png

        save_png(self.out / name, image)
        click.echo(f"{self.out / name}: {text}, truncation {self.options.truncation:g}")
        return self.out / name


def end(outcome: "Outcome") -> None:
    """Name what was skipped; exit status 1 if anything was."""
    if outcome.empty:
        click.echo(f"No surface: {', '.join(outcome.empty)}. They were skipped; try a lower --truncation.", err=True)
    for name, reason in outcome.refused.items():
        click.echo(f"{name}: not written, {reason}", err=True)
    if outcome.empty or outcome.refused:
        sys.exit(1)


def seeds_of(text: str, option: str = "--seeds") -> list[int]:
    """Seeds without repetitions, in the order given."""
    from sampling.latents import parse_seeds

    return list(dict.fromkeys(parse_seeds(text, option)))
