"""Whether what is known of a file fits what is wanted: kind, family, precision. Pure.

Names, sites and tensors speak of families in different detail; only what both sides can tell is compared,
and what one side does not say contradicts nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..roles import parse_roles
from ..roles.words import BITS, FOLDER_KINDS, TEXT_ENCODERS
from . import Contents, Context, Wanted
from .base_models import FAMILIES

# Families that load as another one, which sites and tensors call by that one's name.
_LOADS_AS = {"pony": "sdxl", "illustrious": "sdxl", "noobai": "sdxl", "sd14": "sd15"}
# Kinds that the loader of a folder's models takes, where it is not that kind alone. What ComfyUI's loader of
# diffusion models is given may be a whole checkpoint.
_TAKEN = {"diffusion_model": frozenset({"diffusion_model", "checkpoint"})}
_KINDS = frozenset({
    "checkpoint", "diffusion_model", "lora", "vae", "text_encoder", "clip_vision", "controlnet", "upscale",
    "embedding",
})  # fmt: skip


def families_agree(
    wanted: Wanted, made_for: Iterable[str], context: Context, told: Collection[str]
) -> bool | None:
    """Whether a file of one of the families ``made_for`` fits the name, or else the workflow.

    ``told``: the families that whoever says so can tell at all. None where there is nothing to compare.
    """
    made = {_LOADS_AS.get(family, family) for family in made_for}
    stated = parse_roles(wanted.name, wanted.folder).values("family")
    # flux_text_encoder says for what a text encoder is, not which one it is.
    encodes_text = bool(made) and made <= TEXT_ENCODERS
    stated = stated & TEXT_ENCODERS if encodes_text else stated - TEXT_ENCODERS
    known = {_LOADS_AS.get(family, family) for family in stated}
    if not known and not encodes_text:
        # Of a workflow's models, those that a LoRA or a VAE could be made for.
        known = {_LOADS_AS.get(family, family) for family in context.families - TEXT_ENCODERS}
        # One architecture: what was made for either runs with both.
        known, made = _architectures(known), _architectures(made)
    comparable = {family for family in known if any(_is_of(other, family) for other in told)}
    if not made or not comparable:
        return None
    return any(_is_of(family, other) for family in made for other in comparable)


def made_for_agrees(wanted: Wanted, families: Iterable[str], context: Context) -> bool:
    """Whether a site's word for what the file was made for fits; unknown fits all."""
    return families_agree(wanted, families, context, FAMILIES) is not False


def contents_agree(wanted: Wanted, contents: Contents, context: Context, told: Collection[str]) -> int:
    """How many of kind, family and precision the tensors confirm; -1 if they contradict one of them."""
    verdicts = (
        _kinds_agree(wanted, contents),
        families_agree(wanted, contents.families, context, told),
        _precisions_agree(wanted, contents),
    )
    return -1 if False in verdicts else verdicts.count(True)


def _kinds_agree(wanted: Wanted, contents: Contents) -> bool | None:
    stated = parse_roles(wanted.name).values("kind")
    kinds = {FOLDER_KINDS.get(wanted.folder, wanted.folder)} if wanted.folder else stated
    known = {kind for kind in kinds if kind in _KINDS}
    if not known or not contents.kinds:
        return None
    taken = frozenset[str]().union(*(_TAKEN.get(kind, frozenset({kind})) for kind in known))
    return not taken.isdisjoint(contents.kinds)


def _precisions_agree(wanted: Wanted, contents: Contents) -> bool | None:
    """By the width of a weight: fp16 and bf16 are often taken for one another, fp16 and fp8 are not."""
    stated = parse_roles(wanted.name).values("precision")
    # A part of mixed ones is kept in each of several precisions.
    if not contents.precisions or any("mixed" in value for value in stated):
        return None
    widths = {BITS[value] for value in stated if value in BITS and value != "scaled"}
    if not widths:
        return None
    if stated & contents.precisions:
        return True
    found = {width for value in contents.precisions for width in _widths(value)}
    return None if widths & found else False


def _widths(precision: str) -> tuple[float, ...]:
    """Whole numbers hold 4 bits two to a byte, or 8."""
    if precision == "int":
        return (4.5, 8)
    return (4.5,) if precision == "4bit" else (BITS.get(precision, 64),)


def _architectures(families: Iterable[str]) -> set[str]:
    return {"wan" if family.startswith("wan") else family for family in families}


def _is_of(family: str, known: str) -> bool:
    """``wan`` covers ``wan2.2``: names often leave the version out."""
    return family.startswith(known) or known.startswith(family)
