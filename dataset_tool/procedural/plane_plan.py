"""The plan of an airplane: its kind and proportions."""

from dataclasses import dataclass

import numpy as np

from dataset_tool.procedural.choose import chance, pick, span


@dataclass(frozen=True)
class PlanePlan:
    """A design; lengths as shares of the fuselage's length, which is 1, angles in radians. The nose is at +z.

    kind: "airliner", "business jet", "turboprop", "light plane", "fighter", "biplane" or "glider". radius: of the
    fuselage; squash: its height over its width. nose, tail: lengths of its ends. wing_at: z of the wing root's middle;
    wing_height: −1 low, 0 middle, 1 high. span: half the wings' span. root, tip: chords. sweep, dihedral: of the wing.
    thickness: of the wing at its root. engines: "wing", "tail", "nose", "inside" or "none". count: how many.
    tail_kind: "low", "t" or "twin". fin: height. gear: "none", "fixed" or "floats". livery: "plain", "cheatline",
    "tail", "belly", "bands", "camouflage" or "diagonal".
    """

    kind: str
    radius: float
    squash: float
    nose: float
    tail: float
    wing_at: float
    wing_height: float
    span: float
    root: float
    tip: float
    sweep: float
    dihedral: float
    thickness: float
    engines: str
    count: int
    tail_kind: str
    fin: float
    gear: str
    livery: str
    variant: int


def _base(rng: np.random.Generator, kind: str, **known: object) -> PlanePlan:
    """A plan with the random choices common to airplanes of every kind."""
    defaults: dict[str, object] = {
        "kind": kind,
        "squash": span(rng, 1.0, 1.08),
        "wing_at": span(rng, 0.0, 0.06),
        "dihedral": span(rng, 0.04, 0.12),
        "tail_kind": "low",
        "fin": span(rng, 0.15, 0.2),
        "gear": "none",
        "livery": pick(rng, {"plain": 1.0, "cheatline": 2.5, "tail": 2.5, "belly": 1.5, "bands": 1.0, "diagonal": 1.5}),
        "variant": int(rng.integers(0, 24)),
    }
    return PlanePlan(**{**defaults, **known})  # type: ignore[arg-type]


def _jet(rng: np.random.Generator, business: bool) -> PlanePlan:
    engines = "tail" if business or chance(rng, 0.16) else "wing"
    count = 2 if engines == "tail" or chance(rng, 0.75) else 4
    return _base(
        rng,
        "business jet" if business else "airliner",
        radius=span(rng, 0.058, 0.066) if business else span(rng, 0.052, 0.068),
        nose=span(rng, 0.16, 0.2) if business else span(rng, 0.11, 0.15),
        tail=span(rng, 0.3, 0.38),
        wing_height=-0.62,
        span=span(rng, 0.42, 0.52),
        root=span(rng, 0.2, 0.26),
        tip=span(rng, 0.05, 0.075),
        sweep=span(rng, 0.4, 0.62),
        thickness=span(rng, 0.032, 0.038),
        engines=engines,
        count=count,
        tail_kind="t" if engines == "tail" else "low",
    )


def _propeller(rng: np.random.Generator, large: bool) -> PlanePlan:
    high = chance(rng, 0.6)
    return _base(
        rng,
        "turboprop" if large else "light plane",
        radius=span(rng, 0.06, 0.072) if large else span(rng, 0.068, 0.084),
        squash=span(rng, 1.0, 1.15),
        nose=span(rng, 0.13, 0.17) if large else span(rng, 0.2, 0.26),
        tail=span(rng, 0.4, 0.55),
        wing_at=span(rng, 0.04, 0.1) if large else span(rng, 0.1, 0.16),
        wing_height=0.8 if high else -0.7,
        span=span(rng, 0.5, 0.6) if large else span(rng, 0.56, 0.68),
        root=span(rng, 0.15, 0.19) if large else span(rng, 0.18, 0.22),
        tip=span(rng, 0.09, 0.12) if large else span(rng, 0.12, 0.17),
        sweep=span(rng, 0.0, 0.08),
        thickness=span(rng, 0.032, 0.038),
        engines="wing" if large else "nose",
        count=(2 if chance(rng, 0.75) else 4) if large else 1,
        tail_kind="t" if large and chance(rng, 0.5) else "low",
        gear="none" if large else pick(rng, {"fixed": 4.0, "none": 1.0, "floats": 1.0}),
    )


def _fighter(rng: np.random.Generator) -> PlanePlan:
    delta = chance(rng, 0.5)
    return _base(
        rng,
        "fighter",
        radius=span(rng, 0.054, 0.064),
        squash=span(rng, 0.85, 1.0),
        nose=span(rng, 0.28, 0.36),
        tail=span(rng, 0.12, 0.18),
        wing_at=span(rng, -0.14, -0.08),
        wing_height=-0.15,
        span=span(rng, 0.28, 0.38),
        root=span(rng, 0.42, 0.52) if delta else span(rng, 0.3, 0.38),
        tip=span(rng, 0.04, 0.09),
        sweep=span(rng, 0.75, 0.95) if delta else span(rng, 0.5, 0.7),
        dihedral=span(rng, -0.04, 0.03),
        thickness=span(rng, 0.03, 0.034),
        engines="inside",
        count=1 + int(rng.integers(0, 2)),
        tail_kind=pick(rng, {"twin": 3.0, "low": 2.0}),
        fin=span(rng, 0.14, 0.19),
        livery=pick(rng, {"camouflage": 4.0, "plain": 3.0, "tail": 1.0}),
    )


def _biplane(rng: np.random.Generator) -> PlanePlan:
    return _base(
        rng,
        "biplane",
        radius=span(rng, 0.066, 0.08),
        nose=span(rng, 0.13, 0.18),
        tail=span(rng, 0.5, 0.6),
        wing_at=span(rng, 0.14, 0.2),
        wing_height=-0.75,
        span=span(rng, 0.5, 0.62),
        root=span(rng, 0.18, 0.22),
        tip=span(rng, 0.15, 0.18),
        sweep=span(rng, 0.0, 0.06),
        thickness=span(rng, 0.031, 0.035),
        engines="nose",
        count=1,
        gear="fixed",
        livery=pick(rng, {"plain": 3.0, "cheatline": 1.0, "tail": 2.0, "bands": 1.5, "diagonal": 1.0}),
    )


def _glider(rng: np.random.Generator) -> PlanePlan:
    return _base(
        rng,
        "glider",
        radius=span(rng, 0.05, 0.058),
        nose=span(rng, 0.2, 0.26),
        tail=span(rng, 0.56, 0.64),
        wing_at=span(rng, 0.1, 0.16),
        wing_height=0.45,
        span=span(rng, 0.8, 1.0),
        root=span(rng, 0.13, 0.16),
        tip=span(rng, 0.06, 0.08),
        sweep=span(rng, 0.0, 0.05),
        thickness=span(rng, 0.044, 0.05),
        engines="none",
        count=0,
        tail_kind="t",
    )


def draw_plan(rng: np.random.Generator) -> PlanePlan:
    """Draw the design of an airplane with typical proportions of its kind."""
    kind = pick(
        rng,
        {
            "airliner": 4.0,
            "business": 1.6,
            "turboprop": 1.6,
            "light": 2.4,
            "fighter": 2.2,
            "biplane": 1.2,
            "glider": 0.8,
        },
    )
    if kind in ("airliner", "business"):
        return _jet(rng, kind == "business")
    if kind in ("turboprop", "light"):
        return _propeller(rng, kind == "turboprop")
    return {"fighter": _fighter, "biplane": _biplane, "glider": _glider}[kind](rng)
