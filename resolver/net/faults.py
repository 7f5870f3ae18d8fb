"""What an answer or a broken connection means for the user, as ``DownloadError`` with a stable code.

===================  =====  ===================================================================
code                 retry  meaning
===================  =====  ===================================================================
GATED                no     a licence must be accepted on the model's page, with a token set
TOKEN_REJECTED       no     the token we sent is not, or no longer, valid
UNAUTHORIZED         no     a login is needed, or this account may not have the file
NOT_FOUND            no     no such file (or no longer)
NOT_FOUND_OR_PRIVATE no     the repository does not exist, or is hidden from whoever has no token
RATE_LIMITED         yes    too many requests; ``retry_after`` says when
SERVER_ERROR         yes    the server is unwell
SERVER_REFUSED       no     any other status we did not ask for
NETWORK              yes    no connection, or it broke or fell silent
TLS_FAILED           no     the server's certificate could not be verified
REDIRECT_REFUSED     no     the server points somewhere we do not go
EXPIRED              yes*   a signed URL is too old; *not if the URL we were given is itself signed
===================  =====  ===================================================================

Sources: the Hub's error headers, as huggingface_hub reads them (``X-Error-Code``), RFC 9110
(``Retry-After``), draft-ietf-httpapi-ratelimit-headers (``RateLimit``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from ..errors import DownloadError
from .heads import Head
from .urls import CheckedUrl, redact, site_page

_LONGEST_WAIT = 3600.0
_NAMES = {"huggingface": "Hugging Face", "civitai": "Civitai"}
_SETTINGS = {"huggingface": "CMR_HF_TOKEN", "civitai": "CMR_CIVITAI_API_KEY"}


def error_from_response(answer: Head) -> DownloadError:
    """The error an answer stands for whose status is not the one that was hoped for."""
    status, host = answer.status, answer.url.host
    if status == 429:
        return DownloadError(
            f"{host} asks for fewer requests. Waiting helps; so does a token.",
            code="RATE_LIMITED",
            retryable=True,
            retry_after=retry_after(answer.headers),
        )
    if status >= 500 or status in (408, 425):
        return DownloadError(
            f"{host} answered {status}: it is unwell or overloaded.",
            code="SERVER_ERROR",
            retryable=True,
            retry_after=retry_after(answer.headers),
        )
    if status in (401, 403):
        return _denied(answer)
    if status in (404, 410):
        return DownloadError(_not_found(answer), code="NOT_FOUND")
    return DownloadError(f"{host} answered {status} to {answer.url}.", code="SERVER_REFUSED")


def _denied(answer: Head) -> DownloadError:
    """401 and 403, which mean different things at each place."""
    site = answer.provider
    if site is None:
        return _denied_elsewhere(answer)
    if answer.headers.get("X-Error-Message") == "Access to this resource is disabled.":
        return DownloadError(f"{answer.url.host} has taken this repository down.", code="NOT_FOUND")
    name, setting = _NAMES[site], _SETTINGS[site]
    page = site_page(answer.url.url, site)
    where = f" ({page})" if page else ""
    code = answer.headers.get("X-Error-Code", "")
    if code == "GatedRepo":
        return DownloadError(
            f"{name} gives this file only to those who accepted its licence. Accept it at {page or name}"
            + (" with the account of your token." if answer.token_sent else f" and set {setting}."),
            code="GATED",
            page_url=page,
        )
    if not answer.token_sent:
        if site == "huggingface" and answer.status == 401 and not code:
            # The Hub does not tell strangers whether a repository exists.
            return DownloadError(
                f"{name} has no such repository{where}, or it is private. If it is yours, set {setting}.",
                code="NOT_FOUND_OR_PRIVATE",
                page_url=page,
            )
        return DownloadError(
            f"{name} gives this file only to those who are logged in{where}. Set {setting}.",
            code="UNAUTHORIZED",
            page_url=page,
        )
    if answer.status == 401:
        return DownloadError(
            f"{name} does not accept the token it was sent. Make a new one and set it ({setting}).",
            code="TOKEN_REJECTED",
            page_url=page,
        )
    return DownloadError(
        f"{name} does not give this file to the account of your token: early access, a restriction, or a "
        f"token without that right. Look at its page{where}.",
        code="UNAUTHORIZED",
        page_url=page,
    )


def _denied_elsewhere(answer: Head) -> DownloadError:
    if answer.url is not answer.start:
        return DownloadError(
            f"The signed URL at {answer.url.host} is not accepted any more. A fresh one is asked for.",
            code="EXPIRED",
            retryable=True,
        )
    if redact(answer.url.url) != answer.url.url:
        return DownloadError(
            f"The signed URL at {answer.url.host} has expired. Copy a fresh link from where it came.",
            code="EXPIRED",
        )
    return DownloadError(
        f"{answer.url.host} answered {answer.status}: it does not give this file to just anybody.",
        code="UNAUTHORIZED",
    )


def _not_found(answer: Head) -> str:
    reasons = {
        "EntryNotFound": "The repository has no file of this name.",
        "RevisionNotFound": "The repository has no such branch, tag or commit.",
        "RepoNotFound": "There is no such repository, or your token may not see it.",
    }
    if answer.status == 410:
        return f"{answer.url} is gone for good."
    reason = reasons.get(answer.headers.get("X-Error-Code", ""), "There is no such file.")
    return f"{reason} ({answer.url})"


def redirect_refused(hop: CheckedUrl, reason: str) -> DownloadError:
    """``hop`` answered with a redirect we do not follow."""
    return DownloadError(
        f"{hop.host} redirects to a place that is not fetched from: {reason}", code="REDIRECT_REFUSED"
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks us to wait: ``Retry-After`` (number or date), or the reset in ``RateLimit``.

    At most an hour: a clock that is set wrong, or a whim, must not put a download off for years.
    """
    seconds = _asked_to_wait(headers)
    return None if seconds is None else min(seconds, _LONGEST_WAIT)


def _asked_to_wait(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    if text:
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except ValueError:
            pass
    limited = re.search(r"\bt=(\d{1,9})\b", headers.get("RateLimit", ""))
    return float(limited[1]) if limited else None
