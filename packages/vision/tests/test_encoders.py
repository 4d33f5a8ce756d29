"""What encoders promise: transformers' own numbers, blindness to hidden patches, independent samples."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTModel
from vision_batches import IMAGE, VIDEO, VIT, batch_of, built, initialised

from spectranet import ConfigError
from spectranet_vision import plugin
from spectranet_vision.config import ImageConfig, VitConfig
from spectranet_vision.target import image_target

BOTH = pytest.mark.parametrize(
    ("modality", "config"), [(plugin.IMAGE, IMAGE), (plugin.VIDEO, VIDEO)], ids=["image", "video"]
)


def normalised(pixels: torch.Tensor, mean: list[float], deviation: list[float]) -> torch.Tensor:
    wide = (1, 3, 1, 1)
    return (pixels / 255 - torch.tensor(mean).view(wide)) / torch.tensor(deviation).view(wide)


def imagenet(pixels: torch.Tensor) -> torch.Tensor:
    return normalised(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A ViT with weights unlike any initialisation, as transformers saves it, and the model itself."""
    torch.manual_seed(0)
    model = ViTModel(
        ViTConfig(
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            image_size=32,
            patch_size=8,
            hidden_dropout_prob=0.1,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path_factory.mktemp("vit")
    model.save_pretrained(folder)
    return str(folder), model.eval()


@pytest.mark.parametrize("size", [32, 64, 24])
def test_saved_weights_give_transformers_own_tokens(saved, size):
    folder, model = saved
    config = ImageConfig(size=size, patch_size=8)
    encoder, trunk = built(plugin.IMAGE, config, VitConfig(pretrained=folder))
    batch = batch_of(plugin.IMAGE, config, 3, 0.0)
    ours = encoder(batch, trunk)
    with torch.no_grad():
        theirs = model(imagenet(batch.data["pixels"]), interpolate_pos_encoding=size != 32).last_hidden_state
    assert (ours.tokens_BND - theirs[:, 1:]).abs().max() < 1e-5
    assert (ours.pooled_BD - theirs[:, 1:].mean(1)).abs().max() < 1e-5


def test_the_class_token_can_be_the_summary(saved):
    folder, model = saved
    config = ImageConfig(size=32, patch_size=8, pool="class", normalisation="half")
    encoder, trunk = built(plugin.IMAGE, config, VitConfig(pretrained=folder))
    batch = batch_of(plugin.IMAGE, config, 2, 0.0)
    pixels = normalised(batch.data["pixels"], [0.5] * 3, [0.5] * 3)
    with torch.no_grad():
        theirs = model(pixels).last_hidden_state[:, 0]
    assert (encoder(batch, trunk).pooled_BD - theirs).abs().max() < 1e-5


def test_a_classifiers_folder_loads_too(saved, tmp_path):
    torch.manual_seed(1)
    classifier = ViTForImageClassification(ViTConfig.from_pretrained(saved[0]))
    classifier.save_pretrained(tmp_path)
    _, trunk = built(plugin.IMAGE, IMAGE, VitConfig(pretrained=str(tmp_path)))
    assert torch.equal(trunk.vit.layernorm.weight, classifier.vit.layernorm.weight)
    assert torch.equal(trunk.vit.layers[1].mlp.fc1.weight, classifier.vit.layers[1].mlp.fc1.weight)


def test_the_folder_decides_the_architecture(saved):
    with torch.device("meta"):
        trunk = plugin.VIT.build(VitConfig(pretrained=saved[0]))
    assert (trunk.width, trunk.patch_size, len(trunk.vit.layers)) == (48, 8, 2)
    assert trunk.vit.config.hidden_dropout_prob == 0
    assert trunk.vit.config._attn_implementation == "sdpa"
    with pytest.raises(ConfigError, match=r"trunks.vit.width=96, but .* has 48"):
        plugin.VIT.build(VitConfig(width=96, pretrained=saved[0]))


def test_a_folder_that_is_not_there_or_holds_something_else_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"'/no/such/folder' has no config.json"):
        plugin.VIT.build(VitConfig(pretrained="/no/such/folder"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="type 'bert'"):
        plugin.VIT.build(VitConfig(pretrained=str(tmp_path)))


def test_a_folder_without_weights_is_refused(saved, tmp_path):
    ViTConfig.from_pretrained(saved[0]).save_pretrained(tmp_path)
    with torch.device("meta"):
        trunk = plugin.VIT.build(VitConfig(pretrained=str(tmp_path)))
    trunk.to_empty(device="cpu")
    with pytest.raises(ConfigError, match="no weights"):
        trunk.init_weights()


def test_a_folder_with_half_of_the_weights_is_refused(saved, tmp_path):
    shallow = ViTModel(ViTConfig.from_pretrained(saved[0], num_hidden_layers=1))
    shallow.save_pretrained(tmp_path)
    ViTConfig.from_pretrained(saved[0]).save_pretrained(tmp_path)
    with torch.device("meta"):
        trunk = plugin.VIT.build(VitConfig(pretrained=str(tmp_path)))
    trunk.to_empty(device="cpu")
    with pytest.raises(ConfigError, match=r"lacks .* of the weights"):
        trunk.init_weights()


@BOTH
def test_hidden_patches_do_not_reach_the_encoder(modality, config):
    """Only hidden pixels change: the tokens stay bit for bit. A visible pixel changes: they do not."""
    encoder, trunk = built(modality, config)
    batch = batch_of(modality, config, 2, 0.25)
    before = encoder(batch, trunk)
    (field, pixels), patch = next(iter(batch.data.items())), config.patch_size
    changed = pixels.clone()
    *time, row, column = batch.position_BNP[0, batch.hidden_BH[0, 0]].tolist()
    frames = changed[0, time[0] * config.tubelet :][: config.tubelet] if time else changed[0]
    frames[..., row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] ^= 255
    assert not torch.equal(changed, pixels)
    batch.data[field] = changed
    after = encoder(batch, trunk)
    assert torch.equal(after.tokens_BND, before.tokens_BND)
    assert torch.equal(after.pooled_BD, before.pooled_BD)
    batch.data[field] = 255 - pixels
    assert not torch.equal(encoder(batch, trunk).tokens_BND, before.tokens_BND)


def sample_of(batch, index):
    """The batch of one sample alone."""
    one = copy.copy(batch)
    one.data = {name: tensor[index : index + 1] for name, tensor in batch.data.items()}
    for name, tensor in vars(batch).items():
        if isinstance(tensor, torch.Tensor):
            setattr(one, name, tensor[index : index + 1])
    return one


@BOTH
@pytest.mark.parametrize("pool", ["mean", "class"])
def test_padding_changes_nothing(modality, config, pool):
    """A sample with three tokens fewer, padded by index 0, is encoded as if it were alone."""
    config = type(config)(**{**vars(config), "pool": pool})
    encoder, trunk = built(modality, config)
    batch = batch_of(modality, config, 2, 0.25)
    batch.visible_BV[1, -3:] = 0
    batch.visible_valid_BV[1, -3:] = False
    padded = encoder(batch, trunk)
    short = sample_of(batch, 1)
    short.visible_BV, short.visible_valid_BV = short.visible_BV[:, :-3], short.visible_valid_BV[:, :-3]
    alone = encoder(short, trunk)
    assert (padded.tokens_BND[1, :-3] - alone.tokens_BND[0]).abs().max() < 1e-5
    assert (padded.pooled_BD[1] - alone.pooled_BD[0]).abs().max() < 1e-5
    assert padded.valid_BN.sum(1).tolist() == [len(batch.visible_BV[0]), len(batch.visible_BV[0]) - 3]


@BOTH
@pytest.mark.parametrize("pool", ["mean", "class"])
def test_the_gradient_reaches_every_parameter_in_use(modality, config, pool):
    config = type(config)(**{**vars(config), "pool": pool})
    encoder, trunk = built(modality, config)
    encoded = encoder(batch_of(modality, config, 2, 0.25), trunk)
    (encoded.tokens_BND * torch.randn_like(encoded.tokens_BND)).sum().backward()
    # A clip has an embedding of its own, and leaves the patch convolution of the trunk alone.
    unused = {"vit.embeddings.patch_embeddings.projection." + n for n in ("weight", "bias")}
    for name, parameter in (*trunk.named_parameters(), *encoder.named_parameters()):
        if modality.name == "video" and name in unused:
            assert parameter.grad is None
        else:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_order_of_frames_matters_and_uses_the_shared_places():
    encoder, trunk = built(plugin.VIDEO, VIDEO)
    batch = batch_of(plugin.VIDEO, VIDEO, 1, 0.0)
    forward = encoder(batch, trunk).pooled_BD
    batch.data["frames"] = batch.data["frames"].flip(1)
    assert (encoder(batch, trunk).pooled_BD - forward).abs().max() > 1e-4
    assert [name for name, _ in encoder.named_parameters()] == ["time_TD", "project.weight", "project.bias"]


def test_one_repeated_picture_with_an_inflated_embedding_is_the_picture():
    """Tubelets against the image encoder: with the patch weights spread over the frames of a
    tubelet and no time positions, a clip of one step gives the picture's tokens."""
    still = type(VIDEO)(**{**vars(VIDEO), "frames": 2})
    image_encoder, trunk = built(plugin.IMAGE, IMAGE)
    video_encoder, _ = built(plugin.VIDEO, still)
    pictures = batch_of(plugin.IMAGE, IMAGE, 2, 0.0)
    clips = batch_of(plugin.VIDEO, still, 2, 0.0)
    clips.data["frames"] = pictures.data["pixels"].unsqueeze(1).repeat(1, 2, 1, 1, 1)
    patch = trunk.vit.embeddings.patch_embeddings.projection
    with torch.no_grad():
        inflated = patch.weight.unsqueeze(2).repeat(1, 1, 2, 1, 1) / 2  # (D, colour, time, row, column)
        video_encoder.project.weight.copy_(inflated.flatten(1))
        video_encoder.project.bias.copy_(patch.bias)
        video_encoder.time_TD.zero_()
    ours, expected = video_encoder(clips, trunk), image_encoder(pictures, trunk)
    assert (ours.tokens_BND - expected.tokens_BND).abs().max() < 1e-5


def test_weights_follow_the_library_and_the_seed():
    with torch.device("meta"):
        trunks = [plugin.VIT.build(VIT) for _ in range(3)]
    first, again, other = (initialised(trunk, seed) for trunk, seed in zip(trunks, (7, 7, 8), strict=True))
    weights = [t.vit.layers[0].mlp.fc1.weight for t in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert weights[0].std().item() == pytest.approx(0.02, rel=0.1)


def test_heads_and_encoders_hold_no_trunk():
    encoder, _ = built(plugin.IMAGE, IMAGE)
    with torch.device("meta"):
        head = image_target(IMAGE, 32)
    assert not list(encoder.parameters()) and not encoder.state_dict()
    assert set(head.state_dict()) == {"predict.weight", "predict.bias"}
