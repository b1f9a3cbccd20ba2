"""`report.html` of a run: curves, samples over time, events, machine. It needs no network and no script.

Images are links to the files in the run's folder. Each snapshot writes the page anew from `stats.jsonl` and `run.json`.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from torch_utils.files import write_text
from training.run.charts import html_rows, line_chart, page
from training.run.health import Health
from training.run.run_folder import RunFolder
from training.run.run_log import duration

# A panel: its title, and the statistics that it draws, by label.
PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    ("Distance from held-out shapes, MMD-CD × 10⁻³", {"MMD-CD": "validation/mmd_cd"}),
    ("Held-out shapes covered, COV-CD, %", {"COV-CD": "validation/cov_cd"}),
    ("Distance of images from training views, FD (Lite0)", {"FD": "validation/fd_lite0"}),
    ("Loss of the generator", {"all": "loss/generator", "RGB": "loss/generator_rgb", "mask": "loss/generator_mask"}),
    ("Loss of the discriminators", {"RGB": "loss/discriminator_rgb", "mask": "loss/discriminator_mask"}),
    ("Logits of RGB", {"real": "logits/real_rgb", "generated": "logits/fake_rgb"}),
    ("Squared gradients of R1", {"RGB": "r1/rgb", "mask": "r1/mask"}),
    ("Connected components a shape", {"components": "fixed_samples/components"}),
    ("Diversity of the masks", {"diversity": "fixed_samples/diversity"}),
    ("Gradient norms", {"generator": "gradient/generator", "discriminators": "gradient/discriminators"}),
    ("Images a second", {"img/s": "images_per_second"}),
    ("Peak memory, MB", {"memory": "memory_peak_mb"}),
)


def write_run_report(folder: RunFolder) -> None:
    """Write the page of a run from what its folder holds."""
    stats, description = folder.stats(), folder.description()
    images = sorted(folder.path.glob("samples-*.png"))
    body = "\n".join(
        (
            f"<h1>{escape(folder.path.resolve().name)}</h1>",
            _facts(stats, description),
            "<h2>Curves</h2>",
            *[panel for title, names in PANELS if (panel := _panel(title, names, stats))],
            "<h2>Samples</h2>",
            *[_image(path.name, f"{int(path.stem.split('-')[1]) / 1000:g} kimg") for path in reversed(images)],
            _image("reals.png", "real views") if (folder.path / "reals.png").exists() else "",
            "<h2>Events</h2>",
            html_rows([(f"{nimg / 1000:g} kimg", text) for nimg, text in events(stats, description)]) or "<p>None.</p>",
            "<h2>Machine and code</h2>",
            html_rows([(f"{nimg / 1000:g} kimg", text) for nimg, text in _sessions(description)]),
        )
    )
    write_text(folder.path / "report.html", page(folder.path.resolve().name, body))


def events(stats: Sequence[Mapping[str, float]], description: Mapping[str, Any]) -> list[tuple[int, str]]:
    """What happened at how many images, in order: signs of failure and recovery, rollbacks, resumptions."""
    health = Health()
    found = [(int(line["nimg"]), message) for line in stats for message in health.observe(line)]
    for event in description.get("rolled_back", []):
        found.append(
            (event["nimg"], f"Rolled back to this state; learning rates × {event['rate_factor']:g} from here on.")
        )
    found += [(event["nimg"], "Resumed.") for event in description.get("resumed", [])]
    return sorted(found, key=lambda event: event[0])


def _facts(stats: Sequence[Mapping[str, float]], description: Mapping[str, Any]) -> str:
    rows = [("data", f"{description.get('data', 'unknown')}, {description.get('views', '?')} views")]
    if stats:
        last = stats[-1]
        rows.append(("images", f"{last['nimg'] / 1000:g} kimg"))
        rows.append(("time", f"{duration(last['seconds'])} of training, {duration(last['other_seconds'])} besides"))
        rows.append(("minibatches without effect", f"{last['skipped_steps']:g}"))
        scored = [line for line in stats if math.isfinite(line.get("validation/mmd_cd", math.nan))]
        if scored:
            best = min(scored, key=lambda line: line["validation/mmd_cd"])
            text = f"MMD-CD {best['validation/mmd_cd']:.3g} × 10⁻³ at {best['nimg'] / 1000:g} kimg"
            rows.append(("best network", f"{text} (best_network.safetensors)"))
    return html_rows(rows)


def _sessions(description: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Where and with what each part of the run was trained."""
    parts = [{"nimg": 0, **description}, *description.get("resumed", [])]
    names = ("date", "commit", "torch", "threads")
    return [(p["nimg"], ", ".join(f"{name} {p[name]}" for name in names if p.get(name) is not None)) for p in parts]


def _image(name: str, caption: str) -> str:
    return f'<figure><img src="{escape(name)}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'


def _panel(title: str, names: Mapping[str, str], stats: Sequence[Mapping[str, float]]) -> str:
    """One figure of curves over images seen; "" if nothing of it was logged."""
    curves = {
        label: [(line["nimg"], line[name]) for line in stats if math.isfinite(line.get(name, math.nan))]
        for label, name in names.items()
    }
    return line_chart(title, curves, max(stats[-1]["nimg"], 1) if stats else 1, lambda nimg: f"{nimg / 1000:g} kimg")
