"""One word per thing: the words that the glossary of docs/conventions.md replaces stay out of code, help and documents.

A word that means something else in one place is let through there, with the reason.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENDINGS = {".py", ".md", ".yaml", ".toml", ".h", ".cpp", ".cu", ".css", ".txt", ""}
# Not prose of this project, or the table of former names and its test.
PASSED_OVER = {
    "LICENSE", "CHANGELOG.md", "configs/renamed.py", "tests/configs/test_loader.py", "training/run/renamed.py",
    "tests/training/test_renamed.py", "tests/test_words.py", "constraints.txt",
    "constraints-blender.txt",
}  # fmt: skip


@dataclass(frozen=True)
class Word:
    """pattern: what is refused, in lower case. instead: the field's word. only: folders it is refused in; all if empty.

    allowed: path or folder → why the word is right there.
    """

    pattern: str
    instead: str
    only: tuple[str, ...] = ()
    allowed: tuple[tuple[str, str], ...] = ()


FORMER_KEY = tuple((place, "the former key of dataset.json") for place in ("dataset_tool", "tests/dataset_tool"))
CONTRIBUTING = ("CONTRIBUTING.md", "quotes a sentence as it should not be")
WORDS = [
    Word(r"colour(?!ed`)|grey|centre|neighbour|behaviour|licence|learnt|favour|labell(ed|ing)", "US spelling"),
    Word(
        r"(raster|normal|optim|regular|initial|memor|equal|synchron|recogn|vector|quant|serial)is(e|ing|ation)", "-ize"
    ),
    Word(r"picture", "image"),
    Word(r"camera.?law", "camera distribution", allowed=FORMER_KEY),
    Word(r"\bjudge|_judge|judged", "discriminator, detector or classifier"),
    Word(r"trainee", "train state"),
    Word(r"\bcrumb|\bstray\b|loose.part", "floater", allowed=(CONTRIBUTING,)),
    Word(r"join.?parts|join_loose|\bseal(s|ed|ing)?\b|seal_", "connect components, close boundary"),
    Word(r"\brepair(s|ed)?\b|_repair|repair_", "fallback surface"),
    Word(r"sureness|\bopinions?\b", "logit, probability"),
    Word(r"comes? along|\bshipped\b", "included, pretrained"),
    Word(r"\bprobe\b", "fixed samples"),
    Word(r"silence[sd]?\b|silence_", "zero-initialized"),
    Word(r"\bkinds\b", "classes, attributes, types"),
    Word(r"(?<!standard )(?<!standard_)\bdeviations?\b", "standard deviation"),
    Word(r"(?<!point )(?<!point_)(?<!point-)\bclouds?\b", "point cloud"),
    Word(r"doubled faces", "duplicate faces"),
    Word(r"\bgates?\b|\bdemands?\b", "release criteria, threshold"),
    Word(r"\bmend(s|ed|ing)?\b|\bdear(er|est)?\b", "fix, expensive", allowed=(CONTRIBUTING,)),
    Word(r"\bfloor\b", "train-vs-test reference", only=("metrics", "studies", "docs/results.md", "docs/evaluation.md")),
    Word(r"\bhits\b|\basked\b", "accuracy, conditions", only=("metrics",)),
    Word(r"\bstudio\b", "render settings", only=("metrics",)),
]


def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    return [
        name
        for name in listed
        if name and name not in PASSED_OVER and Path(name).suffix in ENDINGS and (ROOT / name).is_file()
    ]


def refused(name: str, text: str) -> list[str]:
    """ "path:line: 'word' → the field's word" for every word that does not belong."""
    found = []
    for word in WORDS:
        if (word.only and not name.startswith(word.only)) or any(name.startswith(place) for place, _ in word.allowed):
            continue
        for match in re.finditer(word.pattern, text.lower()):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{name}:{line}: {match[0]!r} → {word.instead}")
    return found


@pytest.mark.parametrize("name", files())
def test_one_word_per_thing(name: str) -> None:
    found = [*refused(name, name), *refused(name, (ROOT / name).read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_a_private_word_is_seen() -> None:
    assert len(refused("a.py", "# Pictures in colour, judged by their deviation from the mean\n")) == 4
    assert not refused("a.py", "standard deviation of the point clouds, floor(x)\n")
    assert refused("metrics/a.py", "the floor") and not refused("rendering/a.py", "the floor")
