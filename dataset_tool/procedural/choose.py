"""Small draws that every category makes."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

Key = TypeVar("Key", bound=str)


def pick(rng: np.random.Generator, weights: Mapping[Key, float]) -> Key:
    """One key, with probability proportional to its weight."""
    keys = list(weights)
    shares = np.array([weights[key] for key in keys], float)
    return keys[int(rng.choice(len(keys), p=shares / shares.sum()))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with this probability."""
    return bool(rng.random() < probability)


def span(rng: np.random.Generator, low: float, high: float) -> float:
    """A number drawn evenly from [low, high)."""
    return float(rng.uniform(low, high))


def article(noun: str) -> str:
    """The noun phrase with "a" or "an" before it."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
