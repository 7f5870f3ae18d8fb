"""How a hub behaves: its speed, who may read what, and what goes wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .accounts import CivitaiAccount, HuggingFaceAccount
from .faults import Fault
from .files import HubFile

DEMO_TOKEN = "hf_demo"
"""A token that opens gated repositories, for demonstrations."""

DEMO_KEY = "civitai_demo"
"""A key of an account at Civitai, for demonstrations."""


@dataclass(frozen=True)
class HubOptions:
    """Options of one hub. Files are named by their path in the repository or by their file name.

    The containers are looked into at every request: a caller that keeps its own set may change it
    while the hub runs (a licence is accepted, a broken file is repaired).
    """

    port: int = 0
    """Of the Hugging Face host; 0 takes a free one, as all other hosts always do."""

    bytes_per_second: float | None = None
    """Speed of each connection to the storage host; None for as fast as it goes."""

    latency: float = 0.0
    """Seconds before every answer, on all hosts."""

    latencies: Mapping[str, float] = field(default_factory=dict)
    """Seconds before the answers of single routes, by name (``huggingface.search``, ``civitai.*``)."""

    faults: Mapping[str, Fault] = field(default_factory=dict)
    """What goes wrong, by the route's name; the first pattern that fits counts."""

    expire_after: float = 3600.0
    """Seconds for which a storage URL is good."""

    granted_tokens: Collection[str] = frozenset({DEMO_TOKEN})
    """Tokens that gated repositories are open to. Any other ``hf_…`` token is an account without
    access, as every Hugging Face token starts so; anything else is no token at all."""

    accounts: Mapping[str, HuggingFaceAccount] = field(default_factory=dict)
    """Accounts by token, where more than ``granted_tokens`` says matters."""

    civitai_accounts: Mapping[str, CivitaiAccount] = field(
        default_factory=lambda: {DEMO_KEY: CivitaiAccount("demo-user")}
    )
    """Accounts by API key. Any other key is worth nothing."""

    refused_agents: Collection[str] = ("python-requests", "python-urllib", "curl")
    """What User-Agents begin with that Civitai answers 403, in lower case; so it does if there is none."""

    restricted_region: bool = False
    """Whether Civitai takes every caller to be somewhere where it shows but harmless models."""

    rate_limits: Mapping[str, int] = field(default_factory=dict)
    """Requests to Hugging Face within five minutes: of its ``api``, and of its ``resolvers``."""

    corrupt: Collection[str] = ()
    """Files served with one bit flipped: the right size, the wrong SHA-256."""

    stated_sizes: Mapping[str, int] = field(default_factory=dict)
    """Files about whose size the APIs lie, and the bytes they state. Storage serves what there is."""

    drop_after_bytes: Mapping[str, int] = field(default_factory=dict)
    """Files whose first transfer of more bytes than this is cut off there; the next ones go through."""

    def is_corrupt(self, file: HubFile) -> bool:
        return file.path in self.corrupt or file.name in self.corrupt

    def stated_size(self, file: HubFile) -> int:
        return self.stated_sizes.get(file.path, self.stated_sizes.get(file.name, file.size))

    def drop_after(self, file: HubFile) -> int | None:
        return self.drop_after_bytes.get(file.path, self.drop_after_bytes.get(file.name))

    def huggingface_account(self, token: str) -> HuggingFaceAccount | None:
        """Whose token it is; None for none at all."""
        if token in self.accounts:
            return self.accounts[token]
        if token in self.granted_tokens:
            return HuggingFaceAccount(gated="granted")
        return HuggingFaceAccount() if token.startswith("hf_") else None
