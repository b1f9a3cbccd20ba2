"""Lists of ids: train.txt, val.txt and test.txt, as those published with GET3D."""

from pathlib import Path

from torch_utils.errors import UserError


def read_split_lists(path: Path) -> dict[str, list[str]]:
    """Split name → ids, from a folder with train.txt, val.txt and test.txt, or from one list file.

    A list file whose name is not a split belongs to train. The files have one id, or `synset/id`, per line, as those
    published with GET3D; # starts a comment.
    """
    if path.is_dir():
        files = {name: path / f"{name}.txt" for name in ("train", "val", "test") if (path / f"{name}.txt").is_file()}
        if not files:
            raise UserError(f"{path}: no train.txt, val.txt or test.txt in it")
    elif path.is_file():
        files = {path.stem if path.stem in ("train", "val", "test") else "train": path}
    else:
        raise UserError(f"{path}: no such split list or folder of lists")
    splits = {}
    for name, file in files.items():
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: cannot be read as a list of ids ({error})") from None
        words = (line.split("#")[0].strip().replace("\\", "/").rpartition("/")[2] for line in text.splitlines())
        splits[name] = list(dict.fromkeys(word for word in words if word))
    _check_disjoint(path, splits)
    return splits


def _check_disjoint(path: Path, splits: dict[str, list[str]]) -> None:
    seen: dict[str, str] = {}
    for name, ids in splits.items():
        for shape_id in ids:
            if seen.setdefault(shape_id, name) != name:
                raise UserError(f"{path}: id {shape_id} is in both {seen[shape_id]} and {name}")
