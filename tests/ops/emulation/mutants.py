"""Mistakes that a CUDA kernel can have, seeded one at a time: each must be seen by the emulation.

    python -m tests.ops.emulation.mutants [NAME …]      all, or those whose name contains one of the words

A mistake of mutants.txt is put into a copy of the sources. Its op is built alone and held against the CPU kernels in
every order; if that shows nothing, with the address and undefined-behavior sanitizers, then with the thread sanitizer.
Exit status 1 if one is missed.
"""

import argparse
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.ops.emulation.library import build_library, preloaded
from torch_utils import build

MISTAKES = Path(__file__).with_name("mutants.txt")
SECONDS = 300  # of processor time, so that a busy machine does not count as a mistake seen
REPORT = re.compile(r"SUMMARY: (AddressSanitizer: \S+|ThreadSanitizer: data race)|runtime error: .{0,60}")


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in the CUDA source of an op."""

    name: str
    op: str
    old: str
    new: str

    def write(self, sources: Path) -> None:
        """Put the mistake into a copy of csrc."""
        path = sources / self.op / f"{self.op}_cuda.cu"
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.name}: found {text.count(self.old)} times in {path.name}"
        path.write_text(text.replace(self.old, self.new))


def read_mutants() -> list[Mutant]:
    """The mistakes of mutants.txt: a line "# op: name", then the old text after "-" and the new one after "+"."""
    mutants = []
    for part in re.split(r"^# ", MISTAKES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, *lines = part.splitlines()
        op, _, name = head.partition(": ")
        old, new = ("\n".join(line[1:] for line in lines if line.startswith(sign)) for sign in "-+")
        mutants.append(Mutant(name, op, old, new))
    return mutants


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))


def verdict(mutant: Mutant, folder: Path) -> str:
    """What sees the mistake: a line of the check or of a sanitizer; empty if nothing does."""
    sources = folder / "csrc"
    shutil.copytree(build.SOURCES, sources)
    mutant.write(sources)
    for sanitizer in ("", "address", "thread"):
        library = build_library(sanitizer, sources, folder / (sanitizer or "plain"), only=(mutant.op,))
        command = [sys.executable, "-m", "tests.ops.emulation.check", str(library), "--op", mutant.op]
        if sanitizer:
            command += ["--order", "forward"]
        if sanitizer == "thread":
            command += ["--first", "4"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=preloaded(sanitizer), preexec_fn=_limit
        )
        if done.returncode == -signal.SIGXCPU:
            return "never ends"
        # The op alone is built: a check that calls another one would "see" every mistake.
        assert "Could not run" not in done.stdout, done.stdout
        if found := REPORT.search(done.stderr):
            return found[0]
        if done.returncode:
            return (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["crash"])[-1][:160]
    return ""


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description="Seed mistakes into the CUDA kernels.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names
    chosen = [m for m in read_mutants() if not names or any(name in f"{m.op} {m.name}" for name in names)]
    missed = 0
    for mutant in chosen:
        with tempfile.TemporaryDirectory() as folder:
            seen = verdict(mutant, Path(folder))
        missed += not seen
        sys.stdout.write(f"{'seen  ' if seen else 'MISSED'} {mutant.op}: {mutant.name} | {seen}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - missed} of {len(chosen)} mistakes seen\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
