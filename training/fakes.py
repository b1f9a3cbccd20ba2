"""Images of new shapes, drawn as the dataset's views are, with style mixing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.schema import Config
from networks.generator import Generator, Rendered
from rendering.camera import Cameras
from rendering.environment_light import EnvironmentLight
from torch_utils.timing import phase
from training.data import Minibatch, ViewBatch, spread_views
from training.progressive import supersample_at, upsampled


def render_like_data(
    generator: Generator,
    w_geo: Tensor,
    w_tex: Tensor,
    cameras: Cameras,
    environments: Sequence[EnvironmentLight] = (),
    *,
    resolution: int | None = None,
    supersample: int | None = None,
) -> Rendered:
    """`Generator.render` of what the views of the stage's dataset show: colors, or normals in the geometry stage."""
    if generator.config.training.stage == "geometry":
        return generator.render_normals(w_geo, cameras, resolution, supersample)
    return generator.render(
        w_geo, w_tex, cameras, resolution=resolution, supersample=supersample, environments=environments
    )


def render_fakes(
    generator: Generator, batch: Minibatch, config: Config, side: int
) -> tuple[Rendered, ViewBatch, tuple[Tensor, Tensor]]:
    """Images of new shapes as rendered and as the discriminators see them, and the styles of their first latents.

    side: of the rendered images, px. If it is less than the data's, the discriminators see the images upsampled.
    """
    labels = batch.shape_labels
    with phase("mapping"):
        w_geo, w_tex, first_styles = _styles(generator, batch, config)
    with phase("generator"):
        supersample = supersample_at(side, config)
        rendered = render_like_data(
            generator, w_geo, w_tex, batch.fake_cameras, batch.environments, resolution=side, supersample=supersample
        )
    full = config.data.resolution
    rgb, mask = upsampled(rendered.rgb, full), upsampled(rendered.mask, full)
    views = config.data.views_per_shape
    labels = None if labels is None else labels.repeat_interleave(views)
    if views == 1:
        return rendered, ViewBatch(rgb, mask, batch.fake_cameras, labels), first_styles
    order = spread_views(len(batch.indices), views, config.discriminator.stddev_group, rgb.device)
    labels = None if labels is None else labels[order]
    return rendered, ViewBatch(rgb[order], mask[order], batch.fake_cameras[order], labels), first_styles


def _styles(generator: Generator, batch: Minibatch, config: Config) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Styles of the minibatch's shapes, with style mixing, and those of their first latents alone."""
    latents, labels = batch.latents, batch.shape_labels
    z_geo, z_tex, count = latents.geometry, latents.texture, latents.geometry.shape[0]
    mixing = config.training.style_mixing_prob
    if mixing > 0:  # the second latents go through the mapping in the same pass
        z_geo, z_tex = torch.cat([z_geo, latents.mixing_geometry]), torch.cat([z_tex, latents.mixing_texture])
        labels = None if labels is None else torch.cat([labels, labels])
    w_geo, w_tex = generator.map(z_geo, z_tex, labels=labels)
    first_styles = w_geo[:count, 0].detach(), w_tex[:count, 0].detach()
    if mixing > 0:
        w_geo = mix_styles(w_geo[:count], w_geo[count:], latents.mixing[:, :2], mixing)
        w_tex = mix_styles(w_tex[:count], w_tex[count:], latents.mixing[:, 2:], mixing)
    return w_geo, w_tex, first_styles


def mix_styles(w: Tensor, mixing_w: Tensor, uniform: Tensor, probability: float) -> Tensor:
    """Style mixing: with `probability`, the slots from a uniformly drawn one on come from a second latent.

    w, mixing_w [B, slots, w_dim]; uniform [B, 2] in [0, 1): whether to mix, and from which slot.
    Source: Karras et al. 2019 (StyleGAN), §3.1.
    """
    slots = w.shape[1]
    if slots < 2 or probability == 0:
        return w
    start = 1 + (uniform[:, 1] * (slots - 1)).long()
    start = torch.where(uniform[:, 0] < probability, start, slots)
    mixed = torch.arange(slots, device=w.device)[None, :] >= start[:, None]
    return torch.where(mixed[:, :, None], mixing_w, w)
