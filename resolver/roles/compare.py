"""Whether one model may stand in for another, and which of many may."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..names import basename, to_posix
from .parse import Roles, parse_roles
from .words import BITS, Role

Kind = Literal["same", "precision", "different"]


@dataclass(frozen=True)
class Verdict:
    """``same``: the same model; ``precision``: the same model stored otherwise, a fair substitute that must
    say so; ``different``: another model, never a substitute.

    ``differences``: one ``"attribute: wanted / other"`` each, ``-`` where a name does not state it. For
    ``different`` they are the reasons; packing is listed for ``precision`` only.
    """

    kind: Kind
    differences: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """A file that may stand in. ``file``: ``(folder, name)`` as given; ``score`` 0..1 as ``similarity``."""

    file: tuple[str, str]
    score: float
    kind: Kind
    differences: tuple[str, ...]


def compare(wanted: Roles, other: Roles) -> Verdict:
    """Whether ``other`` may stand in for ``wanted``. Symmetric in ``kind``.

    Where one side does not state an attribute:

    - precision, container and pruning: a difference of packing. Unstated is often fp16 or bf16, not surely.
    - family and kind: no difference if the other side's directories fill the gap; else another model.
    - version: none stated is the first one (``_settle``), so it differs from any later one.
    - everything else (noise, task, size, steps, rank, …) makes another model: the files that leave it out are
      the plain ones, and the plain one is not the specialised one.
    """
    reasons = _placed_differences(wanted, other, "family") + _placed_differences(wanted, other, "kind")
    reasons += _differences(wanted.firm, other.firm)
    if wanted.key[1] != other.key[1]:
        reasons.append(_difference("words", wanted.words, other.words))
    if reasons:
        return Verdict("different", tuple(reasons))
    packing = _differences(wanted.packing, other.packing)
    return Verdict("precision" if packing else "same", tuple(packing))


def _difference(attribute: str, wanted: Iterable[str], other: Iterable[str]) -> str:
    return f"{attribute}: {' '.join(wanted) or '-'} / {' '.join(other) or '-'}"


def _differences(wanted: frozenset[Role], other: frozenset[Role]) -> list[str]:
    if wanted == other:
        return []
    unequal = sorted({role.attribute for role in wanted ^ other})
    return [
        _difference(
            attribute,
            sorted(role.value for role in wanted if role.attribute == attribute),
            sorted(role.value for role in other if role.attribute == attribute),
        )
        for attribute in unequal
    ]


def _placed_differences(wanted: Roles, other: Roles, attribute: str) -> list[str]:
    """Differences of what directories can supply: a gap they fill is none, a contradiction is one."""
    stated = [{r.value for r in roles.stated if r.attribute == attribute} for roles in (wanted, other)]
    placed = [{r.value for r in roles.placed if r.attribute == attribute} for roles in (wanted, other)]
    gap = (stated[0] ^ stated[1]) - placed[0] - placed[1]
    contradiction = placed[0] and placed[1] and placed[0].isdisjoint(placed[1])
    # A family that both names state outranks the directories; the folder of a file is what loads it.
    if gap or (contradiction and (attribute == "kind" or not stated[0] & stated[1])):
        shown = [sorted(said or told) for said, told in zip(stated, placed, strict=True)]
        return [_difference(attribute, *shown)]
    return []


def similarity(a: str, b: str) -> float:
    """0..1, to order what ``compare`` calls ``same`` or ``precision``; 0 for what it calls ``different``.

    1: the same file name. 0.9: the same model under another spelling. 0.4 to 0.75: other packing, less the
    further the precisions lie apart (in powers of two of their bits) and for another container.
    """
    left, right = parse_roles(a), parse_roles(b)
    return _score(a, left, b, right, compare(left, right).kind)


def _score(a: str, left: Roles, b: str, right: Roles, kind: Kind) -> float:
    if kind == "different":
        return 0.0
    if kind == "same":
        return 1.0 if basename(a).lower() == basename(b).lower() else 0.9
    distance = abs(math.log2(_bits(left) / _bits(right)))
    unequal = {role.attribute for role in left.packing ^ right.packing}
    score = 0.75 - 0.08 * distance - 0.02 * len(unequal) - 0.03 * ("container" in unequal)
    return round(max(score, 0.4), 4)


def _bits(roles: Roles) -> float:
    """Nominal bits a weight; the smallest stated, 16 if nothing is."""
    found = [
        BITS.get(value) or (float(digit[1]) + 0.5 if (digit := re.match(r"i?q([1-8])_", value)) else 0.0)
        for value in roles.values("precision")
    ]
    return min((bits for bits in found if bits), default=16.0)


class RoleIndex:
    """Files by their roles, so that a lookup costs the same however many there are. Immutable.

    ``files``: ``(folder, name)`` each. Building parses every name once (``parse_roles`` remembers them), so a
    new index over a library that hardly changed is cheap.
    """

    def __init__(self, files: Iterable[tuple[str, str]]) -> None:
        self._buckets: dict[tuple[frozenset[Role], str], list[tuple[tuple[str, str], Roles]]] = defaultdict(
            list
        )
        for file in files:
            folder, name = file
            roles = parse_roles(name, folder)
            self._buckets[roles.key].append((file, roles))

    def find(self, name: str, folder: str | None, limit: int = 5) -> list[Match]:
        """The files that may stand in for ``name``, best first; the requested subfolder breaks ties."""
        wanted = parse_roles(name, folder)
        matches: list[Match] = []
        verdicts: dict[Roles, Verdict] = {}  # one folder may hold thousands of files of equal roles
        for file, roles in self._buckets.get(wanted.key, ()):
            verdict = verdicts.get(roles) or verdicts.setdefault(roles, compare(wanted, roles))
            if verdict.kind != "different":
                score = _score(name, wanted, file[1], roles, verdict.kind)
                matches.append(Match(file, score, verdict.kind, verdict.differences))
        subfolder = _subfolder(name)
        return sorted(
            matches,
            key=lambda match: (-match.score, _subfolder(match.file[1]) != subfolder, match.file),
        )[:limit]


def _subfolder(name: str) -> str:
    return to_posix(name).rpartition("/")[0].lower()
