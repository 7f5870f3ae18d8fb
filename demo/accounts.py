"""Whose tokens the hubs know, and what those may."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HuggingFaceAccount:
    """An account as one of its tokens sees it (https://huggingface.co/docs/hub/security-tokens).

    ``gated``: how far the account is with all gated repositories. ``reads_gated``: the right of a
    fine-grained token to use that. Whatever ``name`` and ``organizations`` own is theirs to see,
    private or not; a fine-grained token sees it only with ``reads_private``.
    """

    name: str = "demo-user"
    role: Literal["read", "write", "fineGrained"] = "read"
    gated: Literal["granted", "pending", "refused", "none"] = "none"
    organizations: tuple[str, ...] = ()
    reads_gated: bool = True
    reads_private: bool = True

    def owns(self, owner: str) -> bool:
        visible = self.role != "fineGrained" or self.reads_private
        return visible and (owner == self.name or owner in self.organizations)


@dataclass(frozen=True)
class CivitaiAccount:
    """An account at Civitai (https://developer.civitai.com/site/reference/users).

    ``early_access``: the versions it bought before their time.
    """

    name: str
    tier: Literal["free", "founder", "bronze", "silver", "gold"] = "free"
    early_access: Collection[int] = frozenset()
