"""How a hub behaves: its speed, who may read what, and what goes wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .world import HubFile

DEMO_TOKEN = "hf_demo"
"""A token that opens gated repositories, for demonstrations."""


@dataclass(frozen=True)
class HubOptions:
    """Options of one hub. Files are named by their path in the repository or by their file name.

    The containers are looked into at every request: a caller that keeps its own set may change it
    while the hub runs (a licence is accepted, a broken file is repaired).
    """

    port: int = 0
    """Of the API host; 0 takes a free one, as the storage host always does."""

    bytes_per_second: float | None = None
    """Speed of each connection to the storage host; None for as fast as it goes."""

    latency: float = 0.0
    """Seconds before every answer, on both hosts."""

    expire_after: float = 3600.0
    """Seconds for which a storage URL is good."""

    granted_tokens: Collection[str] = frozenset({DEMO_TOKEN})
    """Tokens that gated repositories are open to. Any other ``hf_…`` token is an account without
    access, as every Hugging Face token starts so; anything else is no token at all."""

    corrupt: Collection[str] = ()
    """Files served with one bit flipped: the right size, the wrong SHA-256."""

    drop_after_bytes: Mapping[str, int] = field(default_factory=dict)
    """Files whose first transfer of more bytes than this is cut off there; the next ones go through."""

    def is_corrupt(self, file: HubFile) -> bool:
        return file.path in self.corrupt or file.name in self.corrupt

    def drop_after(self, file: HubFile) -> int | None:
        return self.drop_after_bytes.get(file.path, self.drop_after_bytes.get(file.name))
