"""The model card of a network: the README.md of a folder in the Hugging Face form."""

from collections.abc import Mapping
from typing import Any

from configs.loader import build_config


def model_card(header: Mapping[str, Any], name: str, license_name: str = "") -> str:
    """What a network makes, how it is loaded and how it was trained, as Markdown with Hugging Face metadata.

    header: a network file's, with config, nimg and commit; data, shading and seconds where they are known. name: of the
    folder. license_name: an SPDX name such as "Apache-2.0"; "" where it is not known.
    """
    config = build_config(dict(header["config"]), name)
    classes = f"{config.classes} classes" if config.classes else "none (unconditional)"
    rows = {
        "Category": config.category,
        "Classes": classes,
        "Image resolution": f"{config.data.resolution}²",
        "Tet grid": f"{config.geometry.tet_grid}, {config.geometry.cells} cells along the box side",
        "Training images seen by the discriminators": f"{int(header['nimg']):,}",
        **({"Dataset": str(header["data"])} if header.get("data") else {}),
        **({"Shading of the training images": str(header["shading"])} if header.get("shading") else {}),
        **({"Adapted to": str(header["adapted"].get("prompt"))} if isinstance(header.get("adapted"), dict) else {}),
        "Commit of the code": str(header.get("commit") or "unknown"),
        "License": license_name or "not stated: that of the training images decides",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    front = f"license: {license_name.lower()}\n" if license_name else ""
    return f"""---
{front}library_name: tetragan
tags:
- tetragan
- 3d
- mesh-generation
- gan
---

# {name}

A TetraGAN generator of textured triangle meshes of the category *{config.category}*, trained on 2D images alone. One
random latent gives one mesh in one forward pass.

| | |
|---|---|
{table}

## How to load it

```python
import tetragan

g = tetragan.from_pretrained("path/to/{name}")
mesh = g.sample(seed=3)
mesh.export("sample.glb")
```

On the command line: `tetragan generate --network path/to/{name} --seeds 0-15 --out samples`.
"""
