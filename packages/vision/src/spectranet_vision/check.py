"""Do the options of image, video and their trunk fit together? A sentence for each that does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spectranet import ConfigError
from spectranet_vision.config import NORMALISATIONS, POOLS
from spectranet_vision.pretrained import resolve

__all__ = ["find_problems"]

_FIXED = ("patch_size", "tubelet", "normalisation", "pool")
"""What the built model depends on, and therefore no source may change for itself."""


def find_problems(config: Any) -> list[str]:
    """Problems of the modalities that some source uses; options of an unused one may be anything."""
    used = [name for name in ("image", "video") if any(name in s.modalities for _, s in _sources(config))]
    if not used:
        return []
    problems = list(_check_trunk(config.trunks["vit"]))
    patch = _patch_size(config.trunks["vit"])
    for name in used:
        base = config.modalities[name]
        for where, changed in _variants(config, name):
            found = (*_check_modality(_Options(base, changed), name, patch), *_check_override(base, changed))
            problems += [where + problem for problem in found]
    return problems


class _Options:
    """A modality's options as one source sees them: its overrides laid over the base."""

    def __init__(self, base: Any, changed: Mapping[str, Any]) -> None:
        self._base = base
        self._changed = changed

    def __getattr__(self, name: str) -> Any:
        return self._changed[name] if name in self._changed else getattr(self._base, name)


def _sources(config: Any) -> Iterator[tuple[str, Any]]:
    for name in config.data.sources:
        yield f"data.sources.{name}", config.data.sources[name]
    for name in config.eval.sources:
        yield f"eval.sources.{name}", config.eval.sources[name]


def _variants(config: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where options come from, and what is changed there: the base first, then each source."""
    yield f"modalities.{name}.", {}
    for where, source in _sources(config):
        changed = source.overrides.get(name) if name in source.modalities else None
        if changed:
            yield f"{where}.overrides.{name}.", changed


def _patch_size(vit: Any) -> int:
    """The trunk's patch size; the folder's, if that can be read."""
    try:
        return resolve(vit).patch_size
    except ConfigError:
        return int(vit.patch_size)


def _check_trunk(vit: Any) -> Iterator[str]:
    try:
        vit = resolve(vit)
    except ConfigError as error:
        yield str(error)
        return
    sizes = ("image_size", "patch_size", "width", "layers", "heads", "mlp_hidden")
    small = [name for name in sizes if getattr(vit, name) < 1]
    yield from (f"trunks.vit.{name}={getattr(vit, name)} must be at least 1." for name in small)
    if small:
        return
    if vit.image_size % vit.patch_size:
        yield f"trunks.vit.image_size={vit.image_size} is not a multiple of patch_size={vit.patch_size}."
    if vit.width % vit.heads:
        yield f"trunks.vit.width={vit.width} is not a multiple of heads={vit.heads}."


def _check_modality(one: Any, name: str, trunk_patch: int) -> Iterator[str]:
    if one.size < 1 or one.patch_size < 1:
        yield f"size={one.size} and patch_size={one.patch_size} must be at least 1."
    elif one.size % one.patch_size:
        yield f"size={one.size} is not a multiple of patch_size={one.patch_size}."
    if one.patch_size != trunk_patch:
        yield f"patch_size={one.patch_size} differs from trunks.vit.patch_size={trunk_patch}."
    if not 0 < one.crop_scale_min <= 1:
        yield f"crop_scale_min={one.crop_scale_min} must be in (0, 1]."
    if one.crop_aspect_max < 1:
        yield f"crop_aspect_max={one.crop_aspect_max} must be at least 1."
    if one.normalisation not in NORMALISATIONS:
        yield f"normalisation={one.normalisation!r} must be one of {', '.join(NORMALISATIONS)}."
    if one.pool not in POOLS:
        yield f"pool={one.pool!r} must be one of {', '.join(POOLS)}."
    if name == "video":
        yield from _check_time(one)


def _check_time(one: Any) -> Iterator[str]:
    if one.frames < 1 or one.tubelet < 1:
        yield f"frames={one.frames} and tubelet={one.tubelet} must be at least 1."
    elif one.frames % one.tubelet:
        yield f"frames={one.frames} is not a multiple of tubelet={one.tubelet}."
    if one.span_s is not None and one.span_s <= 0:
        yield f"span_s={one.span_s} must be above 0; null takes the whole clip."


def _check_override(base: Any, changed: Mapping[str, Any]) -> Iterator[str]:
    for name in _FIXED:
        if name in changed and changed[name] != getattr(base, name):
            yield f"{name}={changed[name]} cannot differ between sources: the model is built for one."
    if "frames" in changed and changed["frames"] > base.frames:
        yield f"frames={changed['frames']} exceeds modalities.video.frames={base.frames}."
