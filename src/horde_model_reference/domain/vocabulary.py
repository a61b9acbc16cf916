"""The words that records may use: baselines, styles, schedulers, control types, tags, backends.

Every vocabulary is open: the members known at release are an enum, further ones are registered at run time, and a value
that nobody knows is kept as written and reported once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import MODEL_DOMAIN, MODEL_PURPOSE

__all__ = ["CONTROLNET_STYLE", "CONTROLNET_STYLES", "IMAGE_BASELINES"]
__all__ += ["IMAGE_GENERATION_BASELINE_NATIVE_RESOLUTION_LOOKUP", "IMAGE_SCHEDULERS", "KNOWN_IMAGE_GENERATION_BASELINE"]
__all__ += ["KNOWN_IMAGE_SCHEDULER", "KNOWN_TAGS", "KNOWN_TEXT_BACKENDS", "MODEL_DOMAINS", "MODEL_PURPOSES"]
__all__ += ["MODEL_STYLE", "MODEL_STYLES", "TEXT_BACKENDS", "BaselineDescriptor", "Vocabulary"]
__all__ += ["get_all_registered_baselines", "get_baseline_descriptor", "get_baseline_native_resolution"]
__all__ += ["get_baselines_by_resolution", "get_known_tags", "is_known_controlnet_style", "is_known_image_baseline"]
__all__ += ["is_known_image_scheduler", "is_known_model_domain", "is_known_model_purpose", "is_known_model_style"]
__all__ += ["is_known_tag", "is_known_text_backend", "register_controlnet_style", "register_image_baseline"]
__all__ += ["register_image_scheduler", "register_model_domain", "register_model_purpose", "register_model_style"]
__all__ += ["register_tag", "register_text_backend"]

_log = logger("vocabulary")
_reported: dict[tuple[str, str], object] = {}  # `setdefault` lets one of several threads be first
_MOST_REPORTED, _LONGEST_REPORTED = 10_000, 200

KNOWN_IMAGE_GENERATION_BASELINE = StrEnum(
    "KNOWN_IMAGE_GENERATION_BASELINE",
    "infer stable_diffusion_1 stable_diffusion_2_768 stable_diffusion_2_512 stable_diffusion_xl stable_cascade "
    "flux_1 flux_schnell flux_dev qwen_image z_image_turbo krea2_turbo anima",
)
"""The image baselines known when this version was released; `infer` stands for "find out from the weights"."""
CONTROLNET_STYLE = StrEnum(
    "CONTROLNET_STYLE",
    "control_seg control_scribble control_fakescribbles control_openpose control_normal control_mlsd control_hough "
    "control_hed control_canny control_depth control_qr control_qr_xl control_lineart control_lineart_anime "
    "control_normal_bae control_recolor control_tile control_shuffle control_color",
)
"""What a ControlNet model follows in its control image."""
KNOWN_IMAGE_SCHEDULER = StrEnum(
    "KNOWN_IMAGE_SCHEDULER",
    "normal karras exponential sgm_uniform simple ddim_uniform beta linear_quadratic kl_optimal align_your_steps gits",
)
"""Noise schedules that `requirements.schedulers` of an image model may name."""
MODEL_STYLE = StrEnum("MODEL_STYLE", "generalist anime furry artistic other realistic")
"""The look an image model is made for."""
TEXT_BACKENDS = StrEnum("TEXT_BACKENDS", "aphrodite koboldcpp")
"""The text generation programs that workers run."""


class Vocabulary(KeysView[str]):
    """The known values of the field with this path (`requirements.schedulers`): a live set, in order, that grows."""

    def __init__(self, field: str, values: Iterable[str]) -> None:
        self.field = field
        self._values = dict.fromkeys(values)
        super().__init__(self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._values))  # a loop may register while it runs

    def register(self, value: str) -> None:
        """Make a value known to this process; one that is known already stays as it is."""
        self._values.setdefault(value)

    def note_unknown(self, value: str, model: str) -> bool:
        """Log a value that is not in the vocabulary, once a process; whether this was the time.

        The one log line of the domain: a validator has nobody to return the news to. After 10,000 different values the
        reports stop, so that a hostile reference can fill neither memory nor the log.
        """
        short, report = repr(value[:_LONGEST_REPORTED]), object()
        if len(_reported) >= _MOST_REPORTED or _reported.setdefault((self.field, short), report) is not report:
            return False
        text = "Unknown %s %s (first seen on model %s); the value is kept as written."
        _log.warning(text, self.field, short, repr(model[:_LONGEST_REPORTED])[1:-1])
        return True


@dataclass(frozen=True)
class BaselineDescriptor:
    """One baseline: the edge in pixels of its square training images, and other names by which records may call it."""

    native_resolution: int | None = None
    alternative_names: tuple[str, ...] = ()


_B = KNOWN_IMAGE_GENERATION_BASELINE
_SD1_NAMES = (
    *("stable diffusion 1", "stable diffusion 1.4", "stable diffusion 1.5", "SD1", "SD14", "SD1.4", "SD15", "SD1.5"),
    *("stable_diffusion", "stable_diffusion_1", "stable_diffusion_1.4", "stable_diffusion_1.5"),
)
_DESCRIPTORS: dict[str, BaselineDescriptor] = {
    _B.infer: BaselineDescriptor(),
    _B.stable_diffusion_1: BaselineDescriptor(512, _SD1_NAMES),
    _B.stable_diffusion_2_768: BaselineDescriptor(768),
    _B.stable_diffusion_2_512: BaselineDescriptor(512),
    _B.stable_diffusion_xl: BaselineDescriptor(1024, ("stable diffusion xl", "SDXL", "stable_diffusion_xl")),
    _B.stable_cascade: BaselineDescriptor(1024, ("stable_cascade", "stable cascade")),
    _B.flux_1: BaselineDescriptor(1024),
    _B.flux_schnell: BaselineDescriptor(1024, ("flux_schnell", "flux schnell")),
    _B.flux_dev: BaselineDescriptor(1024, ("flux_dev", "flux dev")),
    _B.qwen_image: BaselineDescriptor(1024, ("qwen_image", "qwen image", "qwen-image", "qwen")),
    _B.z_image_turbo: BaselineDescriptor(1024, ("z_image_turbo", "z image turbo", "zimage-turbo", "zimage")),
    _B.krea2_turbo: BaselineDescriptor(1024, ("krea_2_turbo", "krea2")),
    _B.anima: BaselineDescriptor(1024, ("anima_base", "anima_aesthetic", "anima_turbo")),
}
_RESOLUTIONS: dict[str, int] = {b: d.native_resolution for b, d in _DESCRIPTORS.items() if d.native_resolution}

IMAGE_GENERATION_BASELINE_NATIVE_RESOLUTION_LOOKUP: Mapping[str, int] = MappingProxyType(_RESOLUTIONS)
"""Baseline to native resolution in pixels, for those that have one; a live view that shows registered ones too."""
IMAGE_BASELINES = Vocabulary(
    "baseline", [*_DESCRIPTORS, *(n for d in _DESCRIPTORS.values() for n in d.alternative_names)]
)
"""Baselines by canonical and by alternative name."""
MODEL_STYLES = Vocabulary("style", MODEL_STYLE)
IMAGE_SCHEDULERS = Vocabulary("requirements.schedulers", KNOWN_IMAGE_SCHEDULER)
CONTROLNET_STYLES = Vocabulary("controlnet_style", CONTROLNET_STYLE)
MODEL_DOMAINS = Vocabulary("model_classification.domain", MODEL_DOMAIN)
MODEL_PURPOSES = Vocabulary("model_classification.purpose", MODEL_PURPOSE)
KNOWN_TEXT_BACKENDS = Vocabulary("backend", TEXT_BACKENDS)
KNOWN_TAGS = Vocabulary(
    "tags",
    "anime, booru, cartoon, cg, character, comic, cyberpunk, game, hentai, high resolution, landscapes, low poly, "
    "manga, painting, retro, scenes, sketch, tv show".split(", "),
)
"""Tags that user interfaces offer; a record may carry any other."""

is_known_image_baseline = IMAGE_BASELINES.__contains__
is_known_controlnet_style, register_controlnet_style = CONTROLNET_STYLES.__contains__, CONTROLNET_STYLES.register
is_known_image_scheduler, register_image_scheduler = IMAGE_SCHEDULERS.__contains__, IMAGE_SCHEDULERS.register
is_known_model_domain, register_model_domain = MODEL_DOMAINS.__contains__, MODEL_DOMAINS.register
is_known_model_purpose, register_model_purpose = MODEL_PURPOSES.__contains__, MODEL_PURPOSES.register
is_known_model_style, register_model_style = MODEL_STYLES.__contains__, MODEL_STYLES.register
is_known_tag, register_tag = KNOWN_TAGS.__contains__, KNOWN_TAGS.register
is_known_text_backend, register_text_backend = KNOWN_TEXT_BACKENDS.__contains__, KNOWN_TEXT_BACKENDS.register
get_all_registered_baselines = _DESCRIPTORS.copy
"""Every baseline known now by canonical name, built in or registered, in order; a copy."""
get_baseline_descriptor = _DESCRIPTORS.__getitem__
"""The row of the baseline of that canonical name. Raises `KeyError`."""
get_baseline_native_resolution = _RESOLUTIONS.__getitem__
"""The native resolution in pixels. Raises `KeyError` for `infer`, and for a name that is not a canonical one."""


def register_image_baseline(baseline: str, descriptor: BaselineDescriptor, *, replace: bool = False) -> None:
    """Make a baseline known, by all of its names. Raises `ValueError` for one that is known (see `replace`)."""
    if baseline in _DESCRIPTORS and not replace:
        raise ValueError(f"baseline {baseline!r} is registered already; pass replace=True to change it")
    _DESCRIPTORS[baseline] = descriptor
    _RESOLUTIONS.pop(baseline, None)
    if descriptor.native_resolution is not None:
        _RESOLUTIONS[baseline] = descriptor.native_resolution
    for name in (baseline, *descriptor.alternative_names):
        IMAGE_BASELINES.register(name)


def get_baselines_by_resolution(native_resolution: int) -> list[str]:
    """The canonical names of the baselines with that native resolution."""
    return [baseline for baseline, pixels in _RESOLUTIONS.items() if pixels == native_resolution]


def get_known_tags() -> list[str]:
    """The tags known now, built in or registered, sorted."""
    return sorted(KNOWN_TAGS)
