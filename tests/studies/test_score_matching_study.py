"""The score-matching study: its networks learn, and its panels show what they are given."""

import numpy as np
import torch

from guidance.score_matching import explicit_score_matching
from studies.score_matching.__main__ import density, energy_distance, relative_error, shares
from studies.score_matching.draw import ARROW, POINT, SIDE, TITLE, field_panel, points_panel, row
from studies.score_matching.networks import NoiseNetwork, ddpm_loss, perceptron, point_prior, train


def test_training_lowers_the_error_of_the_score():
    torch.manual_seed(0)
    truth, network = density(), perceptron()
    x = truth.sample(2000, torch.Generator().manual_seed(1))
    before = relative_error(network, truth, x)
    train(network, lambda x, _: explicit_score_matching(network, x), truth, 60, seed=1)
    assert relative_error(network, truth, x) < 0.8 * before
    assert relative_error(truth.score, truth, x) == 0


def test_the_points_train_by_the_loss_of_the_priors():
    torch.manual_seed(0)
    prior, truth = point_prior(NoiseNetwork()), density()
    x = truth.sample(2000, torch.Generator().manual_seed(1))
    before = ddpm_loss(prior, x, torch.Generator().manual_seed(2)).item()
    train(prior.module, lambda x, g: ddpm_loss(prior, x, g), truth, 60, seed=1)
    assert ddpm_loss(prior, x, torch.Generator().manual_seed(2)).item() < 0.8 * before


def test_figures_tell_samples_apart():
    truth = density()
    first, second = (truth.sample(1000, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert energy_distance(first, second) < 0.01 < 0.1 < energy_distance(first, second + 0.5)
    assert np.allclose(shares(first, truth), truth.weights.numpy(), atol=0.05)


def colors(panel):
    return {"#" + bytes(color).hex() for color in np.asarray(panel).reshape(-1, 3)}


def test_panels():
    truth = density()
    field = field_panel("score", truth.score, truth, 3.0)
    points = points_panel("samples", torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]]), 3.0)
    assert ARROW in colors(field) and POINT in colors(points)
    page = row([field, points])
    assert page.size == (2 * SIDE + 8, SIDE + TITLE)
    # y points up: a point above the center is drawn in the upper half.
    up = np.asarray(points_panel("", torch.tensor([[0.0, 2.0]]), torch.zeros(0, 2), 3.0).convert("L"))[TITLE + 2 :]
    marked = np.argwhere(up[2:-2, 2:-2] < 150)[:, 0]
    assert len(marked) and marked.max() < SIDE / 2
