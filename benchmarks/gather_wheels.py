"""Gather the wheels that a machine with a GPU but without a network lacks: `make gpu-wheels`.

    python -m benchmarks.gather_wheels --python 3.12 --present scipy --present pillow

It takes the versions installed here of everything that the project and its tests need, leaves out torch, numpy and what
they bring, and downloads them for the machine's Python into OUT, which git ignores. There:

    pip install --no-index --find-links OUT --no-deps OUT/*.whl && python -m torch_utils.build --cuda && make gpu-check
"""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64")
# What a machine with a CUDA build of torch has.
PRESENT = ("torch", "numpy")
TESTS = ("pytest", "pytest-xdist", "hypothesis")


def closure(names: set[str], extra: str = "") -> set[str]:
    """Installed packages that `names` need, themselves included, under canonical names."""
    found: set[str] = set()
    waiting = {canonicalize_name(name) for name in names}
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            found.discard(name)  # not needed on this Python, or an extra that nobody installed
            continue
        for text in requirements:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting |= {canonicalize_name(requirement.name)} - found
    return found


def needed(present: tuple[str, ...]) -> list[str]:
    """`name==version` of every wheel to gather, sorted."""
    wanted = closure({"tetragan", *TESTS}) - closure({*PRESENT, *present}) - {"tetragan"}
    return sorted(f"{name}=={importlib.metadata.version(name)}" for name in wanted)


@click.command()
@click.option("--python", "version", default="3.12", show_default=True, help="The other machine's Python.")
@click.option("--present", multiple=True, help="A package that it has already, with all that this needs.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/wheels"), show_default=True)
def main(version: str, present: tuple[str, ...], out: Path) -> None:
    """Download the wheels."""
    out.mkdir(parents=True, exist_ok=True)
    target = ["--only-binary", ":all:", "--python-version", version, "--implementation", "cp"]
    target += [part for platform in PLATFORMS for part in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(out), *target]
    subprocess.run([*command, *needed(present)], check=True)
    wheels = sorted(out.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels)
    click.echo(f"{len(wheels)} wheels, {size / 2**20:.0f} MiB in {out}")


if __name__ == "__main__":
    main()
