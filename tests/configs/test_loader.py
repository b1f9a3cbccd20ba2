"""Presets, YAML files and `--set`: resolution, round trip, and errors that name the nearest valid key."""

from pathlib import Path

import pytest
import yaml
from click import UsageError

from configs.loader import BASES, build_config, dump_config, field_paths, load_config, preset_names
from configs.renamed import RENAMED
from configs.schema import Config


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_equal_their_own_dump(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(str(path)) == config
    assert config.category == name.split("-")[0]


@pytest.mark.parametrize("name", preset_names())
def test_presets_hold_only_differences_from_the_defaults(name: str) -> None:
    from configs.loader import PRESETS

    values = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    default = Config().model_dump()
    published = "-get3d" in name
    for section, fields in values.items():
        for field, value in fields.items() if isinstance(fields, dict) else []:
            # The published presets state the sizes that affect results, even if they equal a default.
            assert published or default[section][field] != value, f"{name}: {section}.{field} is the default"


CATEGORIES = ("animal", "car", "chair", "house", "human", "motorbike", "table")
# γ of the RGB discriminator at 1024², as published for the shared backbone (the last three: the paper's only one).
GAMMA = {"car": 40, "motorbike": 80, "chair": 400, "table": 400, "animal": 40, "human": 80, "house": 200}


def test_every_category_has_every_size() -> None:
    sizes = ("", "-full", "-get3d", "-get3d-volume")
    assert set(preset_names()) == {f"{category}{size}" for category in CATEGORIES for size in sizes}


@pytest.mark.parametrize("category", CATEGORIES)
def test_full_sizes_are_as_published(category: str) -> None:
    full, get3d = load_config(f"{category}-full"), load_config(f"{category}-get3d")
    assert full.loss.gamma == get3d.loss.gamma == GAMMA[category]
    for config in (full, get3d):
        assert (config.data.resolution, config.geometry.cells, config.training.batch) == (1024, 36, 32)
        assert config.geometry.box == (0.8 if category in ("chair", "table", "animal") else 1.0)
    assert (get3d.geometry.deformation, get3d.rendering.color_gradient) == (0.4, "none")
    assert (get3d.discriminator.block, get3d.geometry.network) == ("residual", "triplane")
    # The first generator: chairs and tables have another γ, everything else is the same.
    volume = load_config(f"{category}-get3d-volume")
    assert volume.geometry.network == "volume"
    assert volume.loss.gamma == (3200 if category in ("chair", "table") else GAMMA[category])
    same = {"geometry": get3d.geometry, "loss": get3d.loss}
    assert volume.model_copy(update=same) == get3d
    assert (full.geometry.deformation, full.rendering.color_gradient) == (0.2, "full")
    for resolution in (128, 256, 512):
        smaller = load_config(f"{category}-full-{resolution}")
        assert smaller.loss.gamma == pytest.approx(GAMMA[category] * (resolution / 1024) ** 2)
        assert smaller.data.resolution == resolution


def test_no_base_is_a_preset() -> None:
    assert not set(BASES) & set(preset_names())
    with pytest.raises(UsageError, match="no such preset"):
        load_config("base")


# Values of the settings under their former names, none of them a default.
FORMER_VALUES = {
    "geometry.lattice": "kuhn",
    "geometry.join_parts": True,
    "geometry.rgb_gradient": "silhouette",
    "texture.plane_gain": 0.125,
    "discriminator.entry_stride": 2,
    "discriminator.mask_resolution_divisor": 2,
    "loss.sdf_regulariser": 0.5,
    "loss.style_mixing": 0.25,
    "training.coarse_kimg": 7.0,
}


@pytest.mark.parametrize("old", RENAMED)
def test_files_with_former_names_keep_loading(old: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    section, field = old.split(".")
    path = tmp_path / "config.yaml"
    values: dict[str, dict] = {"training": {"batch": 8}}
    values.setdefault(section, {})[field] = FORMER_VALUES[old]
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with caplog.at_level("INFO"):
        config = load_config(str(path))
    new_section, new_field = RENAMED[old].split(".")
    assert getattr(getattr(config, new_section), new_field) == FORMER_VALUES[old]
    assert config.training.batch == 8
    assert f"{old} is now {RENAMED[old]}" in caplog.text and len(caplog.records) == 1
    with pytest.raises(UsageError, match=f"is named {RENAMED[old]} now"):
        load_config("chair", [f"{old}={FORMER_VALUES[old]}"])


def test_a_value_under_the_current_name_wins() -> None:
    config = build_config({"loss": {"style_mixing": 0.1}, "training": {"style_mixing_prob": 0.2}}, "test")
    assert config.training.style_mixing_prob == 0.2


def test_a_suffix_sets_the_resolution_and_scales_gamma(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    base, larger = load_config("chair"), load_config("chair-128")
    factor = (128 / base.data.resolution) ** 2
    assert larger.data.resolution == 128
    assert larger.loss.gamma == base.loss.gamma * factor
    assert load_config("chair-128", ["loss.gamma=7"]).loss.gamma == 7
    assert "chair-128: chair at 128 px, loss.gamma 3 × (128 / 64)² = 12" in caplog.text


def test_set_overrides_one_field_in_yaml_syntax() -> None:
    config = load_config("chair", ["geometry.cells=12", "loss.gamma_mask=null", "discriminator.conditioning=false"])
    assert config.geometry.cells == 12
    assert config.loss.gamma_mask is None
    assert config.discriminator.conditioning is False


def test_every_field_has_a_description() -> None:
    for name, section in Config.model_fields.items():
        fields = getattr(section.annotation, "model_fields", None)
        if fields is None:
            assert section.description, name
        for key, field in (fields or {}).items():
            assert field.description, f"{name}.{key}"
    assert {"data.resolution", "geometry.cells", "loss.gamma", "training.total_kimg"} <= set(field_paths())


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("chiar", [], "chiar: no such preset or YAML file; did you mean 'chair'?"),
        ("chair-big", [], "chair-big: no such preset or YAML file"),
        ("missing.yaml", [], "missing.yaml: no such file"),
        ("chair", ["loss.gama=1"], "--set loss.gama: unknown setting; did you mean 'loss.gamma'?"),
        ("chair", ["loss.gamma"], "--set loss.gamma: expected path.to.field=value"),
        ("chair", ["loss.gamma=[1"], "'[1' is not a YAML value"),
        ("chair", ["loss.gamma=-1"], "loss.gamma: Input should be greater than or equal to 0, got -1"),
        ("chair", ["loss.gamma=much"], "loss.gamma: Input should be a valid number"),
        ("chair", ["backbone.plane_resolution=48"], "backbone.plane_resolution: expected a power of two"),
        ("chair", ["data.views_per_shape=3"], "training.batch: expected a multiple of data.views_per_shape = 3"),
        ("chair", ["data.resolution=72"], "data.resolution: expected a power of two"),
        ("chair", ["data.resolution=16", "discriminator.from_rgb_stride=2"], ""),
        ("chair", ["discriminator.mask_downsample=3"], "discriminator.mask_downsample: expected"),
    ],
)
def test_mistakes_are_one_line_with_the_cause(name: str, overrides: list[str], expected: str) -> None:
    if not expected:
        load_config(name, overrides)
        return
    with pytest.raises(UsageError) as caught:
        load_config(name, overrides)
    assert expected in caught.value.message
    assert "\n" not in caught.value.message


def test_unknown_keys_of_a_file_name_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("loss:\n  gama: 3\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"unknown setting 'loss.gama'; did you mean 'loss.gamma'\?"):
        load_config(str(path))
    path.write_bytes(b"\xff\xfe\x00loss")
    with pytest.raises(UsageError, match="cannot be read as YAML"):
        load_config(str(path))
    path.write_text("- a list\n", encoding="utf-8")
    with pytest.raises(UsageError, match="expected sections with settings, got list"):
        load_config(str(path))
    with pytest.raises(UsageError, match="nowhere"):
        build_config({"loss": {"gamma": "x"}}, "nowhere")


@pytest.mark.parametrize("values", [None, [], 3, "text", True])
def test_settings_that_are_no_sections_are_one_line(values):
    with pytest.raises(UsageError, match="a file: expected sections of settings, got"):
        build_config(values, "a file")
