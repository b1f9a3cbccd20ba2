"""The plan of a table: its kind, proportions and support."""

from dataclasses import dataclass

import numpy as np

from dataset_tool.procedural.choose import chance, pick, span

FOUR_LEGGED = ("straight", "tapered", "splayed", "turned")


@dataclass(frozen=True)
class TablePlan:
    """A design. Lengths in meters, angles in radians.

    kind: "dining table", "coffee table", "side table", "console table" or "desk".
    top: "rectangle", "round", "oval", "square", "octagon" or "boat". thickness, edge: of the top and of its rim.
    legs: "straight", "tapered", "splayed", "turned", "frame", "panel", "trestle", "cross", "tripod", "disc", "trumpet",
    "star" or "drum". bar: their thickness. variant: which turning, foot count or layout.
    apron: height of the frame under the top (0 for none). drawers: how many in it. shelf: a second level below.
    """

    kind: str
    width: float
    depth: float
    height: float
    top: str
    thickness: float
    edge: float
    legs: str
    bar: float
    taper: float
    splay: float
    round_bars: bool
    variant: int
    apron: float
    drawers: int
    shelf: bool
    overhang: float

    @property
    def thin(self) -> float:
        """The thinnest bar, 3.5 % of the longest side, meters."""
        return 0.035 * max(self.width, self.depth, self.height)

    @property
    def under(self) -> float:
        """Height of the top's lower face, meters."""
        return self.height - self.thickness


_SIZES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "dining table": ((1.1, 1.9), (0.5, 0.85), (0.7, 0.78)),
    "coffee table": ((0.7, 1.2), (0.5, 0.95), (0.34, 0.48)),
    "side table": ((0.38, 0.6), (0.8, 1.0), (0.45, 0.65)),
    "console table": ((0.9, 1.4), (0.28, 0.42), (0.74, 0.88)),
    "desk": ((1.0, 1.5), (0.45, 0.6), (0.72, 0.77)),
}
_TOPS: dict[str, dict[str, float]] = {
    "dining table": {"rectangle": 5, "round": 3, "oval": 1.5, "boat": 1, "square": 1},
    "coffee table": {"rectangle": 4, "round": 3, "oval": 2, "square": 1.5, "octagon": 0.7, "boat": 0.6},
    "side table": {"round": 4, "square": 4, "octagon": 1, "rectangle": 1},
    "console table": {"rectangle": 1},
    "desk": {"rectangle": 1},
}
_LONG_LEGS = {
    "straight": 3.0,
    "tapered": 3.0,
    "splayed": 1.5,
    "turned": 2.0,
    "frame": 2.0,
    "panel": 1.2,
    "trestle": 1.6,
    "cross": 1.0,
}
_ROUND_LEGS = {
    "splayed": 2.5,
    "tapered": 1.5,
    "turned": 1.0,
    "tripod": 1.5,
    "disc": 2.0,
    "trumpet": 1.8,
    "star": 1.5,
    "drum": 1.4,
}


def draw_plan(rng: np.random.Generator) -> TablePlan:
    """Draw the design of a table with typical proportions of its kind."""
    kind = pick(rng, {"dining table": 4.0, "coffee table": 3.0, "side table": 2.5, "console table": 1.3, "desk": 1.6})
    widths, ratios, heights = _SIZES[kind]
    top = pick(rng, _TOPS[kind])
    width, height = span(rng, *widths), span(rng, *heights)
    if top in ("round", "square", "octagon"):
        width = min(width, 1.3) if kind != "dining table" else span(rng, 0.85, 1.3)
        depth = width
    else:
        depth = width * span(rng, *ratios)
    compact = top in ("round", "octagon") or (top in ("square", "oval") and chance(rng, 0.4))
    legs = pick(rng, _ROUND_LEGS if compact else _LONG_LEGS)
    if kind == "desk":
        legs = pick(rng, {"straight": 3, "tapered": 3, "splayed": 1, "frame": 2, "panel": 2, "turned": 1})
    longest = max(width, depth, height)
    apron = span(rng, 0.05, 0.1) * max(1.0, longest) if legs in FOUR_LEGGED and chance(rng, 0.6) else 0.0
    drawers = int(rng.integers(1, 4)) if kind in ("desk", "console table", "side table") and chance(rng, 0.6) else 0
    if top not in ("rectangle", "square") or legs not in ("straight", "tapered", "turned", "panel", "frame"):
        drawers = 0
    if drawers:
        apron = max(apron, span(rng, 0.1, 0.16) * max(0.8, longest / 1.1))
        drawers = 1 if kind == "side table" else drawers
    return TablePlan(
        kind=kind,
        width=width,
        depth=depth,
        height=height,
        top=top,
        thickness=span(rng, 0.034, 0.055) * longest,
        edge=span(rng, 0.004, 0.016),
        legs=legs,
        bar=span(rng, 0.038, 0.065) * longest,
        taper=span(rng, 0.55, 0.8) if legs in ("tapered", "splayed", "tripod") else 1.0,
        splay=span(rng, 0.12, 0.28) if legs in ("splayed", "tripod") else 0.0,
        round_bars=chance(rng, 0.45),
        variant=int(rng.integers(0, 12)),
        apron=apron,
        drawers=drawers,
        shelf=legs in ("straight", "tapered", "frame", "panel", "turned")
        and kind in ("coffee table", "side table", "console table")
        and chance(rng, 0.45),
        overhang=span(rng, 0.0, 0.05) * longest,
    )
