"""What the plugin promises: a cheap listing, documented options, and sentences for bad ones."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import fields

import pytest
from omegaconf import OmegaConf

from spectranet import Config, SourceConfig
from spectranet_vision import plugin
from spectranet_vision.config import ImageConfig, VideoConfig, VitConfig


def config_of(vit=None, image=None, video=None, used=("image", "video"), overrides=None):
    """A merged configuration as the hook gets it: OmegaConf over structured configs."""
    config = Config(
        trunks={"vit": VitConfig(**vit or {})},
        modalities={"image": ImageConfig(**image or {}), "video": VideoConfig(**video or {})},
    )
    config.data.sources = {"s": SourceConfig(path="x", modalities=list(used), overrides=overrides or {})}
    return OmegaConf.structured(config)


def problems(**options) -> list[str]:
    return list(plugin.spectranet_check_config(config_of(**options)))


def test_importing_the_plugin_loads_no_heavy_library():
    code = (
        "import sys, spectranet_vision.plugin;"
        "print([m for m in ('torch', 'torchvision', 'transformers', 'PIL', 'av') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_hook_brings_image_and_video_on_one_trunk():
    image, video = plugin.spectranet_modalities()
    assert (image.name, video.name) == ("image", "video")
    assert image.trunk is video.trunk and image.trunk.name == "vit"
    assert video.temporal and not image.temporal
    assert pickle.loads(pickle.dumps(video.decode)) == video.decode
    assert [unit.__name__ for unit in image.shard_units()] == ["ViTLayer"]


@pytest.mark.parametrize("config", [VitConfig, ImageConfig, VideoConfig])
def test_every_option_has_help_and_a_type_that_omegaconf_knows(config):
    assert all(field.metadata["help"] for field in fields(config))
    assert OmegaConf.to_object(OmegaConf.structured(config)) == config()


def test_the_defaults_have_no_problem():
    assert problems() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": {"size": 100}}, "modalities.image.size=100 is not a multiple of patch_size=16"),
        ({"image": {"patch_size": 8}}, "modalities.image.patch_size=8 differs from trunks.vit.patch_size=16"),
        ({"image": {"crop_scale_min": 0.0}}, "modalities.image.crop_scale_min=0.0 must be in (0, 1]"),
        ({"image": {"crop_aspect_max": 0.5}}, "crop_aspect_max=0.5 must be at least 1"),
        ({"image": {"normalisation": "none"}}, "normalisation='none' must be one of imagenet, half"),
        ({"video": {"pool": "max"}}, "modalities.video.pool='max' must be one of mean, class"),
        ({"video": {"frames": 7}}, "modalities.video.frames=7 is not a multiple of tubelet=2"),
        ({"video": {"frames": 0}}, "must be at least 1"),
        ({"video": {"span_s": 0.0}}, "span_s=0.0 must be above 0"),
        ({"image": {"size": 0}}, "must be at least 1"),
        ({"vit": {"heads": 7}}, "trunks.vit.width=768 is not a multiple of heads=7"),
        ({"vit": {"layers": 0}}, "trunks.vit.layers=0 must be at least 1"),
        ({"vit": {"image_size": 100}}, "trunks.vit.image_size=100 is not a multiple of patch_size=16"),
        ({"vit": {"pretrained": "/no/such"}}, "'/no/such' has no config.json"),
        (
            {"overrides": {"image": {"size": 100}}},
            "data.sources.s.overrides.image.size=100 is not a multiple",
        ),
        ({"overrides": {"video": {"tubelet": 1}}}, "overrides.video.tubelet=1 cannot differ between sources"),
        ({"overrides": {"video": {"frames": 32}}}, "frames=32 exceeds modalities.video.frames=16"),
    ],
)
def test_each_mistake_is_one_sentence(options, words):
    (problem,) = problems(**options)
    assert words in problem


def test_all_mistakes_are_reported_at_once():
    found = problems(image={"size": 100, "crop_scale_min": 2.0}, video={"frames": 7}, vit={"heads": 7})
    assert len(found) == 4


def test_options_of_an_unused_modality_may_be_anything():
    assert problems(video={"frames": 7, "patch_size": 4}, used=("image",)) == []
    assert problems(vit={"heads": 7}, image={"size": 5}, used=("text",)) == []


def test_a_source_may_change_what_the_model_does_not_depend_on():
    harmless = {"image": {"size": 64, "crop_scale_min": 1.0}, "video": {"frames": 8, "span_s": 1.0}}
    assert problems(overrides=harmless) == []


def test_the_patch_size_of_a_pretrained_folder_counts(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "vit", "patch_size": 32, "image_size": [224, 224]})
    )
    found = problems(vit={"pretrained": str(tmp_path)}, used=("image",))
    assert found == ["modalities.image.patch_size=16 differs from trunks.vit.patch_size=32."]
