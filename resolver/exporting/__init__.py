"""Scripts and lists that fetch models on another machine, one file a format.

What stands in them comes from workflows and servers: names are those that ``names.parse_model_name``
lets through, URLs those that the policy lets through, and each format's own quoting makes them inert.
No token is ever written; the scripts take theirs from the environment (``HF_TOKEN``,
``CIVITAI_API_KEY``) and send each only to where it belongs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .. import schemas
from ..download.plan import MODEL_EXTENSIONS
from ..errors import BadInput, UrlRefused
from ..lockfile import LockFile, encode_lock, parse_folder
from ..locking import Located
from ..names import parse_model_name
from ..net.policy import UrlPolicy
from . import aria2, bash, listing, powershell, python
from .item import Item, part_name

WRITERS: dict[str, Callable[[Sequence[Item], Sequence[str]], str]] = {
    "bash": bash.write,
    "powershell": powershell.write,
    "python": python.write,
    "aria2": aria2.write,
    "json": listing.write,
}
"""What makes the text of each format: from the files, and a line on each model that is left out."""

FORMATS = (*WRITERS, "lock")
JSON_FORMATS = frozenset({"json", "lock"})


@dataclass(frozen=True)
class Exported:
    """``text``: the script or list. ``left_out``: the models that are not in it, with the reason."""

    text: str
    files: int
    left_out: list[schemas.LeftOut]


def parse_format(name: str) -> str:
    """Raises ``BadInput`` (``BAD_FORMAT``)."""
    if name not in FORMATS:
        raise BadInput(f"There is no format {name!r}; there are {', '.join(FORMATS)}.", code="BAD_FORMAT")
    return name


def export(
    format_name: str, located: Sequence[Located], workflows: Iterable[str], policy: UrlPolicy
) -> Exported:
    """The text of one of ``FORMATS`` for these models; ``workflows``: the names of what needs them."""
    if format_name == "lock":
        models = [model for one in located if (model := one.locked()) is not None]
        text = encode_lock(LockFile(workflows=list(workflows), models=models)).decode()
        left_out = [_left_out(one, one.problem) for one in located if one.problem is not None]
        return Exported(text, len(located) - len(left_out), left_out)
    items: list[Item] = []
    left_out = []
    for one in located:
        # A script may fetch what only its size can be checked of; a lock file may not name it.
        if one.problem is not None and one.problem.code != "LOCK_NO_HASH":
            left_out.append(_left_out(one, one.problem))
            continue
        try:
            item = _item(one, policy)
            if format_name == "aria2":
                aria2.check(item)
            items.append(item)
        except BadInput as error:
            body = schemas.ErrorBody(code=error.code, message=error.message)
            left_out.append(_left_out(one, body))
    remarks = [f"{left.id}: {left.message}" for left in left_out]
    return Exported(WRITERS[format_name](items, remarks), len(items), left_out)


def _item(located: Located, policy: UrlPolicy) -> Item:
    """Raises ``BadInput`` for a name or a URL that is not fetched here either."""
    try:
        folder = parse_folder(located.folder or "")
    except ValueError as error:
        raise BadInput(f"{error}.", code="FOLDER_UNKNOWN") from None
    name = parse_model_name(located.name)
    if os.path.splitext(name)[1].lower() not in MODEL_EXTENSIONS:
        raise BadInput("It does not end like a model file.", code="EXTENSION_NOT_ALLOWED")
    urls = []
    refused: UrlRefused | None = None
    for url in located.urls:
        try:
            # As it is sent: all but plain ASCII is percent-encoded.
            urls.append(policy.check(url).url)
        except UrlRefused as error:
            refused = refused or error
    if not urls:
        raise refused or BadInput("Nothing is known of where it can be had.", code="NOT_FOUND")
    return Item(
        folder,
        name,
        located.size,
        located.sha256,
        tuple(urls),
        located.needs,
        part_name(folder, name, located.sha256),
    )


def _left_out(located: Located, problem: schemas.ErrorBody) -> schemas.LeftOut:
    return schemas.LeftOut(id=located.id, code=problem.code, message=problem.message)
