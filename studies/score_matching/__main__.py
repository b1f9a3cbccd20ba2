"""The figures and the table of docs/score_matching.md: python -m studies.score_matching --out DIR (a minute)."""

import json
import time
from pathlib import Path

import click
import torch
from torch import Tensor

from guidance.sampler import denoised
from guidance.score_matching import (
    GaussianMixture,
    annealed_langevin,
    ddpm_sample,
    denoising_score_matching,
    explicit_score_matching,
    fisher_divergence,
    langevin,
    multi_level_loss,
    noise_levels_between,
    score_of_noise,
    sliced_score_matching,
)
from studies.score_matching.draw import field_panel, points_panel, row
from studies.score_matching.networks import (
    LevelNetwork,
    NoiseNetwork,
    ddpm_loss,
    no_text,
    perceptron,
    point_prior,
    train,
)

EXTENT = 3.0
SIGMA = 0.15  # of plain denoising score matching
SIGMAS = noise_levels_between(4.0, 0.05, 10)
COUNT = 1500


def density() -> GaussianMixture:
    """Three modes of unequal weight, well apart."""
    means = torch.tensor([[-1.8, -1.2], [0.2, 1.5], [1.8, -0.4]])
    return GaussianMixture(means, torch.tensor([0.6, 0.25, 0.15]), 0.35)


def energy_distance(first: Tensor, second: Tensor) -> float:
    """2E‖a − b‖ − E‖a − a'‖ − E‖b − b'‖; 0 for equal distributions."""
    within = [torch.pdist(points).mean() for points in (first, second)]
    return float(2 * torch.cdist(first, second).mean() - within[0] - within[1])


def shares(x: Tensor, truth: GaussianMixture) -> list[float]:
    """Share of the samples nearest to each mode."""
    nearest = torch.cdist(x, truth.means).argmin(1)
    return [round(float((nearest == k).float().mean()), 3) for k in range(len(truth.means))]


def relative_error(score, truth: GaussianMixture, x: Tensor) -> float:
    """Fisher divergence over that of a score of zero."""
    with torch.no_grad():
        return float(fisher_divergence(score, truth.score, x) / fisher_divergence(torch.zeros_like, truth.score, x))


def score_fields(truth: GaussianMixture, steps: int, held_out: Tensor) -> tuple[list, dict[str, float]]:
    """A network for each of the three losses: panels, and errors on held-out samples."""
    losses = {
        "explicit": lambda s: lambda x, g: explicit_score_matching(s, x),
        "sliced": lambda s: lambda x, g: sliced_score_matching(s, x, torch.randn(x.shape, generator=g)),
        "denoising": lambda s: lambda x, g: denoising_score_matching(s, x, torch.randn(x.shape, generator=g), SIGMA),
    }
    panels, errors = [field_panel("known score", truth.score, truth, EXTENT)], {}
    for name, loss_of in losses.items():
        torch.manual_seed(0)
        network = perceptron()
        train(network, loss_of(network), truth, steps, seed=1)
        panels.append(field_panel(f"{name} score matching", network, truth, EXTENT))
        errors[name] = relative_error(network, truth, held_out)
        if name == "denoising":
            noise = torch.randn(held_out.shape, generator=torch.Generator().manual_seed(5))
            errors["denoising, against its own noised density"] = relative_error(
                network, truth.noised(SIGMA), held_out + SIGMA * noise
            )
    return panels, errors


def langevin_samples(truth: GaussianMixture, steps: int, real: Tensor) -> tuple[list, dict[str, Tensor]]:
    """Plain Langevin with the known score, and annealed with a trained network of all levels."""
    generator = torch.Generator().manual_seed(2)
    start = torch.rand(COUNT, 2, generator=generator) * 2 * EXTENT - EXTENT
    plain = langevin(truth.score, start, 0.01, 300, generator)
    torch.manual_seed(0)
    network = LevelNetwork()

    def loss(x: Tensor, g: torch.Generator) -> Tensor:
        level = torch.tensor(SIGMAS)[torch.randint(len(SIGMAS), (len(x),), generator=g)]
        return multi_level_loss(network, x, torch.randn(x.shape, generator=g), level)

    train(network, loss, truth, 2 * steps, seed=3)
    after = annealed_langevin(network, start, SIGMAS, generator, epsilon=2e-4, steps=60)
    panels = [points_panel("Langevin, known score", plain, real, EXTENT)]
    panels += [
        points_panel(f"annealed, noise {SIGMAS[i]:.2f}", after[i], real, EXTENT) for i in (2, 5, len(SIGMAS) - 1)
    ]
    return panels, {"Langevin, known score": plain, "annealed Langevin (SMLD)": after[-1]}


def ddpm_samples(truth: GaussianMixture, steps: int, real: Tensor) -> tuple[list, dict[str, Tensor], float]:
    """A DDPM on points, by the code that trains and samples the priors."""
    torch.manual_seed(0)
    prior = point_prior(NoiseNetwork())
    assert prior.module is not None
    train(prior.module, lambda x, g: ddpm_loss(prior, x, g), truth, 2 * steps, seed=4)
    generator = torch.Generator().manual_seed(6)
    noise = torch.randn(COUNT, 2, 1, 1, generator=generator)
    after = [x[:, :, 0, 0] for x in ddpm_sample(prior, noise, no_text(), 100, generator)]
    ddim = denoised(prior, noise, torch.full((COUNT,), 0.999), no_text(), None, scale=1.0, steps=25)[:, :, 0, 0]
    panels = [points_panel(f"DDPM, t = {1 - (i + 1) / 100:.2f}", after[i], real, EXTENT) for i in (29, 69, 99)]
    panels.append(points_panel("DDIM, 25 steps", ddim, real, EXTENT))
    t = torch.full((len(real),), 0.1)
    alpha, sigma = prior.alpha_sigma(t)
    scaled = GaussianMixture(alpha[0].flatten() * truth.means, truth.weights, float(alpha[0]) * truth.std)

    def score(x_t: Tensor) -> Tensor:
        return score_of_noise(prior.predict(x_t[:, :, None, None], t, no_text()).eps, sigma)[:, :, 0, 0]

    noised = scaled.noised(float(sigma[0]))
    return panels, {"DDPM": after[-1], "DDIM": ddim}, relative_error(score, noised, noised.sample(len(real), generator))


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the figures and figures.json.")
@click.option("--steps", default=2500, show_default=True, help="Training steps of each score network.")
def main(out: Path, steps: int) -> None:
    """Train five small networks, draw three rows of panels and write figures.json."""
    started = time.monotonic()
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    truth, generator = density(), torch.Generator().manual_seed(9)
    held_out, real = truth.sample(8000, generator), truth.sample(COUNT, generator)
    fields, errors = score_fields(truth, steps, held_out)
    row(fields).save(out / "score_fields.png")
    annealed, samples = langevin_samples(truth, steps, real)
    row(annealed).save(out / "langevin.png")
    diffused, more, error = ddpm_samples(truth, steps, real)
    row(diffused).save(out / "ddpm.png")
    errors["DDPM at t = 0.1, as a score"] = error
    samples |= more | {"other samples of the density": truth.sample(COUNT, generator)}
    figures = {
        "score_error": {name: round(value, 4) for name, value in errors.items()},
        "samples": {
            name: {"energy_distance": round(energy_distance(x, real), 4), "shares": shares(x, truth)}
            for name, x in samples.items()
        },
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1, ensure_ascii=False))
    print(f"{time.monotonic() - started:.0f} s, {time.process_time():.0f} s of computing")


if __name__ == "__main__":
    main()
