"""The priors in the package, by name."""

from pathlib import Path

from networks.pretrained import INCLUDED
from torch_utils.errors import UserError

INCLUDED_PRIORS = INCLUDED / "priors"


def included_priors() -> list[str]:
    """Names of the priors in the package: CLIPs and diffusion pipelines."""
    return sorted(path.name for path in INCLUDED_PRIORS.glob("*") if path.is_dir())


def prior_folder(name: str | Path, option: str = "--prior") -> Path:
    """The folder that a user means by a folder or the name of an included prior; a folder of that name comes first.

    UserError for a bare name that is neither. Hub names are left to the loader, which says how to download them.
    """
    path = Path(name)
    if path.exists() or path.name != str(name):
        return path
    if (INCLUDED_PRIORS / path.name).is_dir():
        return INCLUDED_PRIORS / path.name
    known = ", ".join(included_priors())
    raise UserError(f"{option} {name}: no such folder or included prior (included: {known})")
