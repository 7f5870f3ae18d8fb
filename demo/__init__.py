"""Model hubs of our own on loopback, and the demonstration that runs our program against them.

``World`` says which repositories and files exist, ``Hub`` serves them the way Hugging Face, Civitai
and ModelScope do (a host for each API, and a storage host behind signed URLs), ``running_hub`` does
so in a thread for synchronous callers. ``lookalikes`` builds a world of several hundred repositories
around the official templates' models. Nothing here imports ``resolver``: the hub is a second
opinion, not a mirror of our own reading of things.
"""

from .faults import Fault
from .files import HubFile
from .hub import Hub, running_hub
from .options import HubOptions
from .world import HubRepo, World

__all__ = ["Fault", "Hub", "HubFile", "HubOptions", "HubRepo", "World", "running_hub"]
