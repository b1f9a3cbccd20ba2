"""What a prior that has learned photos wants of renders, by three methods; one function for meshes and for samples.

Source of pgsd: Yeh et al. 2024 (TextureDreamer), personalized geometry-aware score distillation.
"""

from typing import Any, Literal

from torch import Tensor

from guidance.priors.prior import DiffusionPrior, Embeddings, add_noise, guided
from guidance.score_distillation import WEIGHTINGS, clamp_prediction, sds, sds_gradient
from guidance.variational import vsd
from training.photos.learn import LARGE_PX, TunedPrior

PhotoMethod = Literal["sds", "dds", "pgsd"]
PHOTO_SCALES: dict[PhotoMethod, float] = {"sds": 2.5, "dds": 2.5, "pgsd": 1.0}


def photo_method(resolution: int) -> PhotoMethod:
    """What suits a prior of images of `resolution` px."""
    return "pgsd" if resolution >= LARGE_PX else "dds"


def photo_gradient(
    method: PhotoMethod,
    priors: TunedPrior,
    x: Tensor,
    x_start: Tensor,
    text: Embeddings,
    empty: Embeddings | None,
    t: Tensor,
    noise: Tensor,
    *,
    scale: float,
    follower: DiffusionPrior | None = None,
    camera: Tensor | None = None,
    **conditions: Any,
) -> Tensor:
    """The gradient on renders x [B, C, h, w], in the prior's space.

    x_start: the same views of what the optimization began with; dds alone looks at them. text: the words of the object.
    empty: of the negative prompt. follower: φ of pgsd, which is told the camera [B, 16].
    """
    if method == "pgsd":
        assert follower is not None, "pgsd has a follower"
        empty = None if priors.base.embedded_guidance else empty  # both are then told the scale
        return vsd(priors.tuned, follower, x, text, empty, t, noise, camera=camera, scale=scale, **conditions)
    gradient = tuned_gradient(priors.base, priors.tuned, x, text, t, noise, scale=scale, **conditions)
    if method == "sds":
        return gradient
    return gradient - sds(priors.base, x_start, text, empty, t, noise, scale=1.0, **conditions)


def tuned_gradient(
    base: DiffusionPrior,
    tuned: DiffusionPrior,
    x: Tensor,
    text: Embeddings,
    t: Tensor,
    noise: Tensor,
    *,
    scale: float,
    **conditions: Any,
) -> Tensor:
    """Score distillation, guided from the prior as it was to the tuned one: w(t)(ε̂_base + s(ε̂_tuned − ε̂_base) − ε).

    Both answer to the same words. A small adapter learns the object's colors only in part, and s > 1 continues the way
    that it went.
    """
    x = x.detach()
    alpha, sigma = base.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    prediction = tuned.predict(x_t, t, text, **conditions)
    if scale != 1:
        prediction = guided(prediction, base.predict(x_t, t, text, **conditions), scale)
    if base.pixel_space:
        prediction = clamp_prediction(prediction, x_t, alpha, sigma)
    return sds_gradient(prediction.eps, noise, WEIGHTINGS["dreamfusion"](alpha, sigma))
