"""What the documents name exists: paths, modules, commands and options."""

import importlib.util
import re
import subprocess
from pathlib import Path

import click
import pytest

from tetragan import __main__ as tetragan

ROOT = Path(__file__).parent.parent
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
DOCUMENTS = [name for name in TRACKED if name.endswith(".md") and (ROOT / name).is_file()]
# Folders of this project; what begins otherwise is a path of the reader's, such as out/ or data/.
FOLDERS = "|".join(sorted({name.split("/")[0] for name in TRACKED if "/" in name and not name.startswith(".")}))
# Made by a command, not kept in the project.
MADE = ("torch_utils/lib", "build/", "dist/")
# Keys of stats.jsonl, which look like paths; names that a recipe makes up.
NO_PATHS = re.compile(r"geometry/(?!.*\.)|.*\bfoo\b")
PLACEHOLDER = re.compile(r"[<>*…{}$]|[A-Z]{4,}")


def named_paths(text: str, folder: Path) -> set[str]:
    """Paths of this project that a document names, relative to the root: in backticks, in commands, and as links."""
    found = set()
    for match in re.finditer(rf"(?<![\w./-])((?:{FOLDERS})/[\w./<>*…{{}}$-]*[\w/])", text):
        found.add(match[1])
    for match in re.finditer(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if "://" not in match[1]:
            found.add(str((folder / match[1]).resolve().relative_to(ROOT)))
    return {
        path
        for path in found
        if not PLACEHOLDER.search(path) and not NO_PATHS.match(path) and not path.startswith(MADE)
    }


def named_modules(text: str) -> set[str]:
    """Modules that a document runs with `python -m`."""
    names = set(re.findall(r"python -m ([\w.]+)", text))
    return {name for name in names if name.split(".")[0] in FOLDERS.split("|")}


def named_commands(text: str) -> set[str]:
    """Commands "tetragan VERB [SUBVERB] … --option" that a document shows, each up to the end of its line."""
    text = text.replace("\\\n", " ")
    shown = re.findall(r"(?:^|[`;&(])\s*(?:[\w.=/-]+ -m )?tetragan ((?:[a-z]+\b)[^`\n|#]*)", text, re.M)
    return {command.strip() for command in shown}


def unknown_parts(command: str) -> list[str]:
    """Verbs and long options of a command that do not exist."""
    words = command.replace("=", " ").split()
    node: click.Command | None = tetragan.cli
    while isinstance(node, click.Group) and words:
        verb = words.pop(0).rstrip(",.;:)")
        if not re.fullmatch(r"[a-z-]+", verb):
            return []
        child = node.get_command(click.Context(node), verb)
        if child is None:
            return [verb]
        node = child
    known = {
        name for parameter in (node.params if node else []) for name in (*parameter.opts, *parameter.secondary_opts)
    }
    options = re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", " ".join(words))
    return [option for option in options if option not in known | {"--help", "--version"}]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    # A changelog names what is gone, too.
    missing = [path for path in named_paths(text, (ROOT / name).parent) if not (ROOT / path).exists()]
    missing += [module for module in named_modules(text) if importlib.util.find_spec(module) is None]
    if name != "CHANGELOG.md":
        missing += [
            f"tetragan {command}: {part}" for command in named_commands(text) for part in unknown_parts(command)
        ]
    assert not missing, "\n".join(sorted(missing))


def unlisted(index: str, pages: list[str]) -> list[str]:
    """Pages of docs/ and below that no link of its index leads to."""
    links = {str((ROOT / "docs" / link).resolve().relative_to(ROOT)) for link in re.findall(r"\]\(([^)#]+)\)", index)}
    return [page for page in pages if page not in links]


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    # What a page of its folder leads to.
    parts = {"docs/README.md", "docs/study/table.md"}
    pages = [name for name in DOCUMENTS if name.startswith("docs/") and not name.endswith("release_criteria.md")]
    assert not unlisted(index, [page for page in pages if page not in parts])
    assert unlisted("[a](a.md), [b](../b.md)", ["docs/a.md", "b.md", "docs/c.md"]) == ["docs/c.md"]


def test_what_is_missing_is_seen() -> None:
    assert named_paths("`geometry/nowhere.py`, out/demo and [x](docs/y.md)", ROOT) == {
        "geometry/nowhere.py",
        "docs/y.md",
    }
    assert named_modules("`python -m studies.nothing --out X`") == {"studies.nothing"}
    assert named_commands("    tetragan train --config chair \\\n      --daat D") == {
        "train --config chair        --daat D"
    }
    assert unknown_parts("train --config chair --daat D") == ["--daat"]
    assert unknown_parts("dataset rendre x") == ["rendre"] and unknown_parts("gnerate") == ["gnerate"]
    assert not unknown_parts("dataset render x --out y")
