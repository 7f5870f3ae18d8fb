"""A model hub of our own on loopback, and the demonstration that runs our program against it.

``World`` says which repositories and files exist, ``Hub`` serves them the way Hugging Face does (an
API host, and a storage host behind signed URLs), ``running_hub`` does so in a thread for
synchronous callers. Nothing here imports ``resolver``: the hub is a second opinion, not a mirror of
our own reading of things.
"""

from .hub import Hub, running_hub
from .options import HubOptions
from .world import HubFile, HubRepo, World

__all__ = ["Hub", "HubFile", "HubOptions", "HubRepo", "World", "running_hub"]
