"""A script for Python 3.8 or newer that needs nothing but the standard library."""

from __future__ import annotations

from collections.abc import Sequence

from .item import Item, in_ascii

_HEAD = '''\
#!/usr/bin/env python3
"""Fetches models into the folders of ComfyUI:  python FILE [COMFYUI_DIRECTORY]

Run it again after an interruption: it goes on from there. What is there is never overwritten.
Tokens, where a model needs one: HF_TOKEN, CIVITAI_API_KEY. A mirror of the Hub: HF_ENDPOINT.
"""
import hashlib
import os
import sys
import urllib.error
import urllib.request

# Path below models/, size, SHA-256, name while it is not whole, URLs.
'''

_TAIL = '''
SITES = (
    ("https://huggingface.co/", "HF_ENDPOINT", "HF_TOKEN"),
    ("https://civitai.com/", "CIVITAI_ENDPOINT", "CIVITAI_API_KEY"),
)


def is_whole(path, size, sha256):
    """Whether the file is what it should be, as far as that is known."""
    if not os.path.isfile(path) or (size is not None and os.path.getsize(path) != size):
        return False
    if sha256 is None:
        return True
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest() == sha256


def receive(url, part):
    """Fetch what is missing of the part."""
    token = None
    for site, endpoint, variable in SITES:
        if url.startswith(site):
            url = os.environ.get(endpoint, site).rstrip("/") + "/" + url[len(site):]
            token = os.environ.get(variable)
            break
    had = os.path.getsize(part) if os.path.exists(part) else 0
    request = urllib.request.Request(url, headers={"User-Agent": "comfy-model-resolver"})
    if had:
        request.add_header("Range", "bytes=%d-" % had)
    if token:
        # Not sent along a redirect: it belongs to this host alone.
        request.add_unredirected_header("Authorization", "Bearer " + token)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            with open(part, "ab" if had and answer.status == 206 else "wb") as file:
                for block in iter(lambda: answer.read(1 << 20), b""):
                    file.write(block)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            os.unlink(part)  # it cannot be gone on with
        raise


def publish(part, target):
    """Give it its name, unless there is such a file by now."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(target):
            raise FileExistsError(target)
        os.rename(part, target)
    else:
        os.unlink(part)


def fetch(models, path, size, sha256, part, urls):
    """Fetch one file; returns what is wrong, or None."""
    target = os.path.join(models, *path.split("/"))
    part = os.path.join(os.path.dirname(target), part)
    can_tell = size is not None or sha256 is not None
    if os.path.lexists(target):
        return None if is_whole(target, size, sha256) else "another file of this name is there, and stays"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not can_tell and os.path.exists(part):
        os.unlink(part)  # nobody can tell whether it is whole
    reason = "it could not be fetched whole"
    for url in urls:
        if can_tell and is_whole(part, size, sha256):
            break
        print("fetching ", ascii(target), flush=True)
        try:
            receive(url, part)
        except (OSError, ValueError) as error:
            reason = "%s: %s" % (type(error).__name__, error)
            continue
        if is_whole(part, size, sha256):
            break
        # Sent to its end, and not the file: begin anew.
        if size is None or os.path.getsize(part) >= size:
            os.unlink(part)
            reason = "its content is not the one wanted"
    if not is_whole(part, size, sha256):
        return reason
    try:
        publish(part, target)
    except FileExistsError:
        return "a file of this name has come meanwhile, and stays"
    return None


def main():
    models = os.path.join(sys.argv[1] if len(sys.argv) > 1 else ".", "models")
    failed = False
    for path, size, sha256, part, urls in FILES:
        problem = fetch(models, path, size, sha256, part, urls)
        if problem is None:
            print("done     ", ascii(path), flush=True)
        else:
            failed = True
            print("FAILED   ", ascii(path) + ":", problem, file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
'''


def write(items: Sequence[Item], remarks: Sequence[str]) -> str:
    lines = [f"# Left out: {in_ascii(remark)}" for remark in remarks]
    lines.append("FILES = [")
    for item in items:
        # Literals in ASCII: no encoding of any machine reads them otherwise.
        values = (item.path, item.size, item.sha256, item.part, list(item.urls))
        lines.append(f"    {values!a},")
    return _HEAD + "\n".join([*lines, "]", ""]) + _TAIL
