"""Settings of an adaptation: what a prompt may change, by which method, and for how long."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from configs.loader import build_config, nearest
from configs.schema import Config
from configs.strict import StrictModel
from dataset_tool.procedural.choose import article
from guidance.priors.folder import require_folder
from guidance.priors.included import prior_folder
from guidance.prompts import checked_prompt
from networks.pretrained import network_file
from torch_utils.checkpoint import read_header
from torch_utils.errors import UserError
from training.adapt.captions import dataset_captions
from training.adapt.prior import clip_resolution, is_clip, prior_resolution
from training.photos.gradient import PHOTO_SCALES, photo_method

Mode = Literal["shift", "mapping", "single"]
Part = Literal["texture", "geometry", "both"]
Method = Literal["dds", "sds", "asd", "nfsd", "csd", "ism", "hifa", "vsd", "rfds", "rfds-rev", "clip", "pgsd"]
Keep = Literal["structure", "distances", "discriminators"]
# Adam's learning rates for a network, for its mapping, and for one sample's styles by a prompt and by a reference.
RATE, MAPPING_RATE, SINGLE_RATE, REFERENCE_RATE = 2e-3, 2e-3, 1e-2, 5e-2
MAX_SEED = 2**31 - 1
# Settings that `--set` cannot name, since other settings follow from them, and the options that do.
OPTIONS = {
    "mode": "--mode",
    "prompts": "--prompts-file",
    "data": "--data",
    "held_out": "--data",
    "reference": "--reference",
    "photos": "--photos",
}
# Steps of the mode mapping, whose prompts share them, for each step of a shift.
MAPPING_FACTOR = 3
DEFAULT_PRIOR, DEFAULT_CLIP = "pixel", "clip-a"
# DDS with the included priors: at the published scale they saturate colors, less so where the structure is kept
# (docs/text.md).
SMALL_PRIOR_PX, SMALL_PRIOR_SCALE, STRUCTURED_SCALE = 32, 2.5, 4.0
# Classifier-free guidance of each method, as published.
GUIDANCE_SCALE: dict[str, float] = {
    "dds": 7.5,
    "sds": 100.0,
    "asd": 7.5,
    "nfsd": 7.5,
    "csd": 1.0,
    "ism": 7.5,
    "hifa": 7.5,
    "vsd": 7.5,
    "rfds": 50.0,
    "rfds-rev": 7.0,
    "clip": 1.0,
}


class AdaptSettings(StrictModel):
    """One adaptation. The same settings give the same result."""

    mode: Mode = Field("shift", description="a whole network, its mapping, or one sample")
    network: str = Field(description="the network that is adapted, as the user named it")
    prompt: str = Field(description="what it shall make")
    source: str = Field(description="what it makes now")
    negative: str = Field("", description="the prompt in place of the empty one")
    prior: str = Field(description="a folder, or the name of an included prior")
    second_prior: str = Field("", description="a second CLIP, for the method clip")
    clip: str = Field("", description="a CLIP that only evaluates; empty: the included one")
    method: Method = Field("dds", description="how the prior guides")
    part: Part = Field("both", description="what may change")
    screened: int = Field(0, ge=0, description="with the method clip: latents to learn from, of ten times as many")
    keep: tuple[Keep, ...] = Field((), description="what must stay")
    keep_weight: float = Field(1.0, ge=0, description="weight of each of them")
    steps: int = Field(300, ge=1, description="of the optimizer")
    batch: int = Field(8, ge=1, description="images a step")
    resolution: int = Field(16, ge=8, description="side of the images that the prior sees, px")
    supersample: int = Field(4, ge=1, le=8, description="raster samples along a pixel's side")
    rate: float = Field(2e-3, gt=0, description="Adam's learning rate")
    scale: float = Field(7.5, ge=0, description="classifier-free guidance")
    background: float = Field(0.7, ge=0, le=1, description="gray behind the object, sRGB")
    prompts: tuple[str, ...] = Field((), description="those of the mode mapping")
    data: str = Field("", description="the dataset whose captions they are")
    held_out: tuple[str, ...] = Field((), description="captions of its other splits, which only measure")
    text_encoder: str = Field("", description="the CLIP whose embeddings the mapping networks take; empty: clip-a")
    sample: int = Field(0, ge=0, description="the seed where a single sample begins")
    truncation: float = Field(0.7, ge=0, le=2, description="of that sample")
    planes: bool = Field(False, description="whether its planes may change, too")
    reference: str = Field("", description="an image or a folder of posed views, in place of a prompt")
    photos: str = Field("", description="a folder of photos of what the prompt names, which the prior learns first")
    photo_steps: int = Field(0, ge=0, description="of that learning; 0: what suits the prior")
    bootstrap_rounds: int = Field(0, ge=0, description="times that the prior also learns cleaned renders of the sample")
    view_deg: tuple[float, float] = Field((35.0, 20.0), description="azimuth and elevation of the image's camera")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the prior; auto: bf16 on a GPU")
    camera: str = Field("", description="a distribution's name or a YAML file; empty: that of the network's category")
    threads: int = Field(1, ge=0, description="CPU threads; 0 = one per core, which pays for large priors alone")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="of latents, cameras and noise")

    @property
    def goal(self) -> str:
        """What it moves to, in a few words."""
        if self.photos:
            return f"photos of {Path(self.photos).name}"
        return Path(self.reference).name if self.reference else self.prompt


@dataclass(frozen=True)
class Preset:
    """What suits a prior of some size, by the names of settings."""

    steps: int
    batch: int
    supersample: int
    threads: int


def preset_of(resolution: int) -> Preset:
    """Steps, batch and supersampling for images of `resolution` px.

    Small images cost little, so that many of them average out the noise; large ones need no supersampling. Small
    networks are faster on one thread.
    """
    if resolution <= 32:
        return Preset(300, 8, 4, 1)
    if resolution <= 96:
        return Preset(300, 8, 2, 1)
    return Preset(400, 4, 2, 0) if resolution <= 256 else Preset(600, 2, 1, 0)


def check_prompts(prompt: str, source: str) -> tuple[str, str]:
    """Both without space around them. UserError where one is empty, or where they say the same."""
    if not source.strip():
        raise UserError("--source is empty; say what the network makes now, such as 'a chair', or leave it out")
    target, now = checked_prompt(prompt), source.strip()
    if " ".join(target.lower().split()) == " ".join(now.lower().split()):
        raise UserError(f"--prompt and --source both say {target!r}, so nothing would change; name what shall differ")
    return target, now


def read_prompts(path: Path) -> list[str]:
    """The prompts of a text file, one a line; empty lines and those that begin with # do not count.

    UserError where the file cannot be read, has no prompt, or names one twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--prompts-file {path}: cannot be read as text ({error})") from None
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise UserError(f"--prompts-file {path}: holds no prompt; write one a line, such as: a red chair")
    twice = next((prompt for number, prompt in enumerate(prompts) if prompt in prompts[:number]), None)
    if twice is not None:
        raise UserError(f"--prompts-file {path}: names {twice!r} twice")
    return prompts


def new_settings(given: Mapping[str, Any], overrides: Sequence[str]) -> AdaptSettings:
    """The settings of a new adaptation. What neither `given` nor the overrides name suits network, method and prior.

    given: values by name, at least network and prompt. overrides: "name=value". UserError for an unknown name, a value
    out of its range, prompts that are empty or equal, and a network or prior that is not there.
    """
    own = _parsed(overrides)
    # Each by itself, before any of them decides about others.
    _validated({**dict.fromkeys(("network", "prompt", "source", "prior"), ""), **own})
    values = {**given, **own}
    config = _network_config(values["network"])
    values.setdefault("source", article(config.category))
    mode = values.get("mode", "shift")
    _check_kept(mode, values.get("keep", ()))
    _check_single(mode, values)
    if mode == "mapping":
        values = _for_mapping(values)
    _check_photos(mode, values)
    values = _for_reference(values, config) if values.get("reference") else _for_prompt(values)
    if values.get("screened") and (mode != "shift" or values.get("method") != "clip"):
        raise UserError("--set screened: a CLIP chooses latents; it goes with --mode shift and --method clip")
    side = values["resolution"]
    # What is no number gets its answer from the validation below.
    suited = dict(vars(preset_of(side if isinstance(side, int) else SMALL_PRIOR_PX)))
    if mode == "mapping":
        suited["steps"] *= MAPPING_FACTOR
    settings = _validated({**suited, **values})
    if "distances" in settings.keep and settings.batch < 2:
        raise UserError("--keep distances: compares the images of a step with each other; add --set batch=2 or more")
    return settings


def _network_config(network: str) -> Config:
    """The configuration of a network. UserError for a file that is none."""
    header = read_header(network_file(network))
    if header.get("kind") != "network":
        raise UserError(f"--network {network}: expected a network file, got {header.get('kind')!r}")
    return build_config(header.get("config", {}), network)


def _for_mapping(values: Mapping[str, Any]) -> dict[str, Any]:
    """With the prompts of a dataset, if one is given. UserError for a method that cannot learn many prompts."""
    if values.get("method") == "clip":
        raise UserError("--mode mapping: needs a diffusion prior; leave out --method clip")
    if values.get("method") == "vsd":
        raise UserError("--mode mapping: one follower cannot learn all prompts (docs/text.md); use dds or asd")
    values = {"rate": MAPPING_RATE, **values}
    if values.get("data"):
        found = dataset_captions(Path(values["data"]), values["source"])
        said = f"{len(found.train)} captions of {Path(values['data']).name}"
        values |= {"prompt": said, "prompts": found.train, "held_out": found.held_out}
    for prompt in values["prompts"]:
        check_prompts(prompt, values["source"])
    return values


def _for_reference(values: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """For images to look like; no prior looks at them, so they are as large as those of the network's training."""
    if values.get("mode") != "single":
        raise UserError("--reference: is for one sample; add --mode single")
    named = next((name for name in ("prior", "method", "scale") if name in values), None)
    if named is not None:
        option = "guidance-scale" if named == "scale" else named
        raise UserError(f"--{option}: is about words; with --reference, leave it out")
    return {"prompt": "", "prior": "", "resolution": config.data.resolution, "rate": REFERENCE_RATE, **values}


def _for_prompt(values: Mapping[str, Any]) -> dict[str, Any]:
    """For a prompt, with the prior and what suits it."""
    if values.get("photos"):
        prompt, source = checked_prompt(values["prompt"]), values["source"]
    else:
        prompt, source = check_prompts(values["prompt"], values["source"])
    rate = SINGLE_RATE if values.get("mode") == "single" else RATE
    values = {"rate": rate, **values, "prompt": prompt, "source": source}
    return values | _guided(values)


def _validated(values: Mapping[str, Any]) -> AdaptSettings:
    """The settings; UserError for an unknown name and a value out of its range."""
    try:
        return AdaptSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            raise UserError(f"--set {name}: no such setting{nearest(name, list(AdaptSettings.model_fields))}") from None
        raise UserError(f"--set {name}: {first['msg']}, got {first.get('input')!r}") from None


def _check_kept(mode: str | None, keep: Sequence[str]) -> None:
    """UserError for what a mode cannot keep."""
    if mode == "single" and keep:
        raise UserError("--keep: is about many samples; for --mode single, --set keep_weight=10 holds the one")
    if mode == "mapping" and "distances" in keep:
        raise UserError("--keep distances: samples of different prompts must differ; with --mode mapping leave it out")


def _check_single(mode: str, values: Mapping[str, Any]) -> None:
    """UserError for a part of one sample, and for settings of one sample where a network is adapted."""
    if mode == "single":
        if values.get("part", "both") != "both":
            raise UserError("--part: is about networks; --mode single moves all styles of one sample, so leave it out")
        return
    named = next((name for name in ("sample", "planes", "truncation", "view_deg") if name in values), None)
    if named is not None:
        raise UserError(f"--{'' if named == 'sample' else 'set '}{named}: is for one sample; add --mode single")


def _check_photos(mode: str, values: Mapping[str, Any]) -> None:
    """UserError for photos that do not go with the rest, and for settings that need photos."""
    if values.get("photos"):
        if mode != "single":
            raise UserError("--photos: are for one sample; add --mode single")
        method = values.get("method", "dds")
        if method not in PHOTO_SCALES:
            raise UserError(f"--method {method}: with --photos, choose one of {', '.join(PHOTO_SCALES)}")
        return
    if values.get("method") == "pgsd":
        raise UserError("--method pgsd: learns from photos; add --photos DIR, or use --method vsd")
    named = next((name for name in ("photo_steps", "bootstrap_rounds") if values.get(name)), None)
    if named is not None:
        option = "--photo-steps" if named == "photo_steps" else f"--set {named}"
        raise UserError(f"{option}: is about photos; add --photos DIR, or leave it out")


def _guided(values: Mapping[str, Any]) -> dict[str, Any]:
    """The prior, and what suits it: method, resolution and guidance scale, where they are not given."""
    prior = values.get("prior", DEFAULT_CLIP if values.get("method") == "clip" else DEFAULT_PRIOR)
    folder = prior_folder(prior)
    require_folder(folder, "prior")
    photos = bool(values.get("photos"))
    if photos and is_clip(folder):
        raise UserError(f"--photos: --prior {prior} is a CLIP, which cannot learn them; try --prior {DEFAULT_PRIOR}")
    method = values.get("method", "clip" if is_clip(folder) else "dds")
    if is_clip(folder) != (method == "clip"):
        needed = "a CLIP" if method == "clip" else "a diffusion prior"
        raise UserError(f"--method {method}: needs {needed}, which --prior {prior} is not")
    side = values.get("resolution")
    if side is None:
        side = clip_resolution(folder) if is_clip(folder) else prior_resolution(folder)
    if photos:
        method = values.get("method", photo_method(side) if isinstance(side, int) else "dds")
        return {
            "prior": prior,
            "method": method,
            "resolution": side,
            "scale": values.get("scale", PHOTO_SCALES[method]),
        }
    small = method == "dds" and isinstance(side, int) and side <= SMALL_PRIOR_PX
    of_small = STRUCTURED_SCALE if "structure" in values.get("keep", ()) else SMALL_PRIOR_SCALE
    scale = of_small if small else GUIDANCE_SCALE[method]
    return {"prior": prior, "method": method, "resolution": side, "scale": values.get("scale", scale)}


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    values = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"--set {override}: expected name=value, such as rate=0.001")
        if name.strip() in OPTIONS:
            raise UserError(f"--set {override}: use {OPTIONS[name.strip()]} instead")
        try:
            values[name.strip()] = yaml.safe_load(text) if text else ""
        except yaml.YAMLError:
            raise UserError(f"--set {override}: its value cannot be read") from None
    return values


def prompt_folder(prompt: str) -> str:
    """The name of a prompt's folder: "a-red-chair"."""
    return re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")[:80] or "prompt"


def prompt_folders(prompts: Sequence[str]) -> list[str]:
    """The name of each prompt's folder. UserError where two have the same one."""
    found: dict[str, str] = {}
    for prompt in prompts:
        name = prompt_folder(prompt)
        if name in found:
            raise UserError(
                f"--prompts-file: {found[name]!r} and {prompt!r} would both be written to {name}; reword one of them"
            )
        found[name] = prompt
    return list(found)
