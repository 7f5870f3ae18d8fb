"""A file name -> its roles: one pass over its letters and numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from ..names import basename, to_posix
from .words import (
    CONTAINERS,
    FOLDER_KINDS,
    IMPLIED,
    PACKING_ATTRIBUTES,
    PHRASES,
    PREFIXES,
    RANKS,
    RESOLUTIONS,
    SCALES,
    STEP_WORDS,
    TEXT_ENCODERS,
    UNITS,
    UNTELLING,
    Role,
)


@dataclass(frozen=True)
class Roles:
    """A parsed name.

    ``stated``: what the file name says and a substitute must say too.
    ``placed``: family and kind that only the directories tell; they can contradict, but need not be repeated.
    ``packing``: precision, container and pruning: the same model stored otherwise.
    ``words``: what is left of the name, lower case, in order: the model's own name.
    """

    stated: frozenset[Role]
    placed: frozenset[Role]
    packing: frozenset[Role]
    words: tuple[str, ...]

    @cached_property
    def firm(self) -> frozenset[Role]:
        """The stated roles that no directory can supply."""
        return frozenset(role for role in self.stated if role.attribute not in ("family", "kind"))

    @cached_property
    def key(self) -> tuple[frozenset[Role], str]:
        """What is equal in any two names that ``compare`` does not call ``different``."""
        # UltraSharp is ultrasharp, but day_to_night is not night_to_day.
        return self.firm, "".join(self.words)

    def values(self, attribute: str) -> frozenset[str]:
        """What the file name states of one attribute; empty where it states nothing."""
        return frozenset(role.value for role in self.stated | self.packing if role.attribute == attribute)


class _Atom(NamedTuple):
    """A run of letters or a number. ``glued``: nothing separates it from the atom before it."""

    text: str
    number: bool
    glued: bool


# Where a letter run must break although its letters do not show it: LooseControlfp16, novaXLv10, plusv2.
_HIDDEN_BREAK = re.compile(
    r"(?<=[a-z])(?=(?:bf16|fp16|fp32|fp8)(?![0-9]))|(?<=[A-Z0-9])(?=v[0-9])"
    r"|(?<=[a-z]{3})(?=v[0-9]+(?:\.[0-9]+)*(?![0-9A-Za-z]))"
)
# A number with its points; a camel-case part; anything that is not ASCII as it stands; a plus sign is a name.
_ATOM = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)*)|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\x00-\x7f]+|\+"
)
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{2,11})$")
# Stable Diffusion's own files do not say so: v1-5-pruned-emaonly, v2-1_768-ema-pruned.
_BARE_SD = re.compile(r"v(1-4|1-5|2-0|2-1)(?![0-9])", re.IGNORECASE)
_BARE_SD_FAMILIES = {"1-4": "sd14", "1-5": "sd15", "2-0": "sd2", "2-1": "sd2.1"}


# How the files of one model that was split are told apart: model-00001-of-00003.
_PART = re.compile(r"-[0-9]{5}-of-[0-9]{5}$")


def _atoms(text: str) -> list[_Atom]:
    if _HIDDEN_BREAK.search(text):
        text = _HIDDEN_BREAK.sub("_", text)
    atoms = []
    end = -1
    for found in _ATOM.finditer(text):
        atoms.append(_Atom(found[0].lower(), found["number"] is not None, found.start() == end))
        end = found.end()
    return atoms


def _version(number: str) -> str:
    """``1.0`` -> ``1``, ``0.9.7`` -> ``097``, as LTX (``097``) and Civitai (``v51`` for 5.1) write them."""
    while number.endswith(".0"):
        number = number[:-2]
    return number.replace(".", "")


class _Reading:
    """One pass over a name's atoms."""

    def __init__(self, atoms: Sequence[_Atom]) -> None:
        self.atoms = atoms
        self.roles: set[Role] = set()
        self.words: list[str] = []
        at = 0
        while at < len(atoms):
            at = self._phrase(at) or self._quantity(at) or self._word(at)

    def _at(self, at: int) -> _Atom:
        return self.atoms[at] if 0 <= at < len(self.atoms) else _Atom("", False, False)

    def _word(self, at: int) -> int:
        self.words.append(self.atoms[at].text)
        return at + 1

    def _add(self, attribute: str, value: str, end: int) -> int:
        self.roles.add(Role(attribute, value))
        return end

    def _phrase(self, at: int) -> int:
        """Take the longest known phrase that begins here; 0 if there is none."""
        joined = ""
        taken = 0
        role: Role | None = None
        for end in range(at, len(self.atoms)):
            joined += self.atoms[end].text
            if joined not in PREFIXES:
                break
            if joined in PHRASES:
                following = self._at(end + 1)
                counted = following.text in UNITS and (following.glued or following.text in STEP_WORDS)
                if not (self.atoms[end].number and counted):
                    taken, role = end + 1, PHRASES[joined]
        if not taken:
            return 0
        if role is not None:
            self.roles.add(role)
            if role == ("family", "yolov8") and self.atoms[taken - 1].text in tuple("nsmlx"):
                self.roles.add(Role("size", self.atoms[taken - 1].text))
        return taken

    def _quantity(self, at: int) -> int:
        """Take a number and what makes it a version, a size, a count, …; 0 if there is none."""
        atom, following, third = self._at(at), self._at(at + 1), self._at(at + 2)
        if not atom.number:
            return self._named_number(at) if following.number else 0
        if following.text in STEP_WORDS:
            return self._add("steps", atom.text, at + 2)
        if following.glued and following.text == "b":
            size = f"0.{atom.text[1:]}" if re.fullmatch(r"0[0-9]", atom.text) else atom.text
            return self._add("size", f"{size}b", at + 2)
        if following.glued and following.text == "m" and len(atom.text) > 2:
            return self._add("size", f"{atom.text}m", at + 2)
        single_digits = len(atom.text) == len(following.text) == 1 and following.number
        if single_digits and third.glued and third.text == "b":
            return self._add("size", f"{atom.text}.{following.text}b", at + 3)  # 1_3B
        if following.glued and following.text == "x":
            if third.number and third.glued:
                return self._add("resolution", f"{atom.text}x{third.text}", at + 3)
            if atom.text in SCALES:
                return self._add("scale", atom.text, at + 2)
        if following.glued and following.text in ("p", "px") and len(atom.text) > 2:
            return self._add("resolution", atom.text, at + 2)
        if self._at(at - 1).text == "lora" and atom.text in RANKS:
            return self._add("rank", atom.text, at + 1)
        if atom.text in RESOLUTIONS:
            return self._add("resolution", atom.text, at + 1)
        if "." in atom.text or re.fullmatch(r"0[0-9]{2}|2[3-9](?:0[1-9]|1[0-2])", atom.text):
            # 0.9.7, 097, and releases named after their month: 2509.
            return self._add("version", _version(atom.text), at + 1)
        return 0

    def _named_number(self, at: int) -> int:
        """A number with its letters before it: v2, rank64, x4, A14B."""
        atom, number, unit = self._at(at), self._at(at + 1), self._at(at + 2)
        if atom.text in ("v", "ver", "version"):
            end, parts = at + 2, [number.text]
            while (  # v1-1, v1_1: single digits, the last one no quantity
                len(parts[-1]) == 1
                and self._at(end).number
                and len(self._at(end).text) == 1
                and self._at(end + 1).text not in UNITS
            ):
                parts.append(self._at(end).text)
                end += 1
            return self._add("version", _version(".".join(parts)), end)
        if atom.text in ("rank", "dim") or (atom.text == "r" and number.glued and number.text in RANKS):
            # SVDQuant's r32 is part of the quantisation: svdq-int4_r32.
            attribute = "precision" if Role("precision", "svdq") in self.roles else "rank"
            return self._add(
                attribute, f"r{number.text}" if attribute == "precision" else number.text, at + 2
            )
        if atom.text == "x" and number.glued and number.text in SCALES:
            return self._add("scale", number.text, at + 2)
        if atom.text in ("a", "e") and number.glued and unit.glued and unit.text == "b":
            # A14B counts active parameters of the same 14B files; Gemma's E2B is a size of its own.
            return self._add("size", f"{'e' if atom.text == 'e' else ''}{number.text}b", at + 3)
        return 0


def _read(text: str) -> _Reading:
    return _Reading(_atoms(text))


def _read_stem(stem: str, kind: str | None) -> _Reading:
    """A file name's own roles and words, without its extension."""
    bare = _BARE_SD.match(stem)
    reading = _read(stem[bare.end() :] if bare else stem)
    if bare:
        reading.roles.add(Role("family", _BARE_SD_FAMILIES[bare[1]]))
    _settle(reading, stem, kind)
    return reading


def _settle(reading: _Reading, stem: str, kind: str | None) -> None:
    """Give the words their meaning that only the rest of the name decides."""
    roles, words = reading.roles, reading.words
    if stem.lower() == "ae":  # FLUX.1's VAE is published under this name alone
        roles |= {Role("family", "flux1"), Role("kind", "vae")}
        words.clear()
    families = {role.value for role in roles if role.attribute == "family"}
    implied = frozenset[str]().union(*(IMPLIED.get(family, frozenset()) for family in families))
    text_encoder = kind == "text_encoder" or not families.isdisjoint(TEXT_ENCODERS)
    for word in tuple(words):
        if word in implied:
            words.remove(word)
        elif word == "xl":
            # Alone it means SDXL (OpenPoseXL2); beside a family it is that family's size.
            roles.add(Role("size", "xl") if families else Role("family", "sdxl"))
            words.remove(word)
        elif word in ("high", "low") and any(family.startswith("wan") for family in families):
            roles.add(Role("noise", word))
            words.remove(word)
    for role in tuple(roles):
        if (
            # The first version is often not numbered.
            role == ("version", "1")
            or (role.attribute == "size" and role.value in implied)
            # A text encoder's files hold its encoder, said or not.
            or (text_encoder and role == ("part", "encoder"))
            or (text_encoder and role == ("kind", "text_encoder"))
        ):
            roles.discard(role)


def _split(file_name: str) -> tuple[str, str | None]:
    """(name without its extension, container), if the extension is a container's."""
    extension = _EXTENSION.search(file_name)
    if extension is None or extension[1].lower() not in CONTAINERS:
        return file_name, None
    return file_name[: extension.start()], extension[1].lower()


@lru_cache(maxsize=1 << 16)
def parse_roles(name: str, folder: str | None = None) -> Roles:
    """Read the roles of ``name`` (a path relative to its folder, either separator).

    ``folder``: ComfyUI's folder name, if known; it tells the kind (a LoRA need not say so in ``loras``).
    """
    parents = to_posix(name).split("/")[:-1]
    stem, container = _split(basename(name))
    kind = FOLDER_KINDS.get(folder, folder) if folder else None

    reading = _read_stem(stem, kind)
    while not _named(reading) and parents:
        # diffusion_pytorch_model says nothing; the directory it came in does.
        stem = f"{parents.pop()}/{stem}"
        reading = _read(stem)
        _settle(reading, stem, kind)
    if not _named(reading):
        # model.safetensors, high_noise_model.safetensors, 1.ckpt: equal only to the very same name.
        reading.words[:] = [stem.lower(), container or ""]
        reading.roles.clear()
    words = tuple(reading.words)

    placed = {Role("kind", kind)} if kind else set()
    for parent in parents:
        placed |= _families_of(parent)
    packing = {role for role in reading.roles if role.attribute in PACKING_ATTRIBUTES}
    if container:
        packing.add(Role("container", container))
    return Roles(
        stated=frozenset(reading.roles - packing),
        placed=frozenset(placed),
        packing=frozenset(packing),
        words=words,
    )


def directory_families(name: str) -> frozenset[str]:
    """The families that the directories of a path speak of: ``SDXL/x.safetensors`` -> ``sdxl``."""
    parents = to_posix(name).split("/")[:-1]
    return frozenset(role.value for parent in parents for role in _families_of(parent))


def tells_nothing(name: str) -> bool:
    """Whether the file name alone cannot tell one model from another: ``model``, ``vae``, ``ip-adapter``.

    ``name`` may be a path; its directories do not count, nor does which part of a split file it is.
    """
    stem, _ = _split(basename(name))
    reading = _read_stem(_PART.sub("", stem), None)
    return not (reading.words or _named(reading))


@lru_cache(maxsize=1 << 12)  # thousands of files share few directories
def _families_of(directory: str) -> frozenset[Role]:
    return frozenset(role for role in _read(directory).roles if role.attribute == "family")


def _named(reading: _Reading) -> bool:
    """Whether the name says which model it is, rather than only what sort of file.

    A family or a word of its own does; so do two roles together (control-lora-canny-rank128), but not one.
    """
    telling = [role for role in reading.roles if role.attribute not in UNTELLING]
    return (
        len(telling) > 1
        or any(role.attribute == "family" for role in telling)
        or any(not word.isascii() or (len(word) > 2 and word.isalpha()) for word in reading.words)
    )
