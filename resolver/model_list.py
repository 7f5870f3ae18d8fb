"""The models a user lists by hand, a line each, or a whole lock file."""

from __future__ import annotations

from pydantic import ValidationError

from .errors import BadInput
from .host import canonical_folder
from .host.standalone import BUILTIN_FOLDERS
from .lockfile import LockFile, decode_lock
from .schemas import DownloadItem
from .sources import url_file_name

_FORMS = "folder/name URL [SHA-256], or folder URL [SHA-256], or URL [SHA-256]"


def parse_list(text: str) -> list[DownloadItem] | LockFile:
    """What ``text`` lists: the content of a lock file, or lines.

    A line is ``folder/name URL [SHA-256]``. Without the name it is the URL's; without a folder it is the
    one that the URL's path names last, as in ``…/split_files/vae/ae.safetensors``. ``#`` begins a comment.
    Raises ``BadInput``: ``LIST_INVALID``, which names the line, or as ``decode_lock``.
    """
    if text.lstrip().startswith("{"):
        return decode_lock(text.encode(), "The list")
    lines = enumerate(text.splitlines(), 1)
    return [_item(number, line.split()) for number, line in lines if line.strip() and not _is_comment(line)]


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _item(number: int, parts: list[str]) -> DownloadItem:
    place = "" if _is_url(parts[0]) else parts.pop(0).replace("\\", "/")
    if len(parts) not in (1, 2) or not _is_url(parts[0]):
        raise _wrong(number, f"must be: {_FORMS}")
    url = parts[0]
    folder, _, name = place.partition("/")
    folder, name = folder or _folder_in(url), name or url_file_name(url) or ""
    if not folder:
        raise _wrong(number, "must begin with the folder, because its URL names none")
    if not name:
        raise _wrong(number, "must begin with folder/name, because its URL has no file name")
    sha256 = parts[1] if len(parts) == 2 else None
    try:
        return DownloadItem(folder=canonical_folder(folder), filename=name, url=url, sha256=sha256)
    except ValidationError as error:
        field = error.errors(include_input=False)[0]["loc"][0]
        wrong = "SHA-256" if field == "sha256" else field
        raise _wrong(number, f"has no valid {wrong}") from None


def _is_url(text: str) -> bool:
    return text.startswith(("https://", "http://"))


def _folder_in(url: str) -> str:
    """The model folder that the path names, the nearest to the file if several do."""
    directories = url.partition("://")[2].partition("?")[0].split("/")[1:-1]
    return next((name for name in reversed(directories) if canonical_folder(name) in BUILTIN_FOLDERS), "")


def _wrong(number: int, what: str) -> BadInput:
    return BadInput(f"Line {number} of the list {what}.", code="LIST_INVALID", line=number)
