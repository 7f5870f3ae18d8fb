"""A script for bash (3.2 or newer, so macOS' own too) with curl."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from .item import Item, in_ascii

_HEAD = """\
#!/usr/bin/env bash
# Fetches models into the folders of ComfyUI:  bash FILE [COMFYUI_DIRECTORY]
# Run it again after an interruption: it goes on from there. What is there is never overwritten.
# Tokens, where a model needs one: HF_TOKEN, CIVITAI_API_KEY. A mirror of the Hub: HF_ENDPOINT.
set -euo pipefail

models=${1:-.}/models
hugging_face=${HF_ENDPOINT:-https://huggingface.co}
civitai=${CIVITAI_ENDPOINT:-https://civitai.com}
failed=0
sum=(sha256sum)
command -v sha256sum >/dev/null || sum=(shasum -a 256)

# whole FILE SIZE SHA256: whether the file is what it should be, as far as that is known.
whole() {
  [[ -f $1 ]] || return 1
  [[ -z $2 || $(wc -c <"$1") -eq $2 ]] || return 1
  [[ -z $3 || $("${sum[@]}" <"$1") == "$3 "* ]]
}

# fetch PATH SIZE SHA256 PART URL...
fetch() {
  local target=$models/$1 size=$2 sha256=$3 part url token status code
  part=${target%/*}/$4
  shift 4
  if [[ -e $target || -L $target ]]; then
    if whole "$target" "$size" "$sha256"; then
      printf 'here      %s\\n' "$target"
      return 0
    fi
    printf 'FAILED    %s: another file of this name is there, and stays\\n' "$target" >&2
    return 1
  fi
  mkdir -p -- "${target%/*}" || return 1
  # Without size and hash nobody can tell whether a part is whole.
  [[ -n $size$sha256 ]] || rm -f -- "$part"
  for url in "$@"; do
    if [[ -n $size$sha256 ]] && whole "$part" "$size" "$sha256"; then
      break
    fi
    token=
    case $url in
      https://huggingface.co/*)
        url=$hugging_face${url#https://huggingface.co}
        token=${HF_TOKEN:-}
        ;;
      https://civitai.com/*)
        url=$civitai${url#https://civitai.com}
        token=${CIVITAI_API_KEY:-}
        ;;
    esac
    printf 'fetching  %s\\n' "$target"
    code=0
    # The token goes through a pipe: arguments can be seen by every user. curl drops it on a redirect
    # to another host.
    status=$(printf '%s' "${token:+Authorization: Bearer $token}" |
      curl --fail --location --globoff --retry 3 --continue-at - --user-agent comfy-model-resolver \\
        --header @- --write-out '%{http_code}' --output "$part" --url "$url") || code=$?
    if ((code == 0)) && whole "$part" "$size" "$sha256"; then
      break
    fi
    # What is not the file, or cannot be gone on with, is begun anew. What is only not whole yet stays.
    if ((code == 0 || code == 33)) || [[ $status == 416 ]]; then
      rm -f -- "$part"
    fi
  done
  if ! whole "$part" "$size" "$sha256"; then
    printf 'FAILED    %s: it could not be fetched whole\\n' "$target" >&2
    return 1
  fi
  mv -n -- "$part" "$target" || return 1
  if [[ -e $part ]]; then
    printf 'FAILED    %s: a file of this name has come meanwhile, and stays\\n' "$target" >&2
    return 1
  fi
  printf 'done      %s\\n' "$target"
}

"""


def write(items: Sequence[Item], remarks: Sequence[str]) -> str:
    lines = [f"# Left out: {in_ascii(remark)}" for remark in remarks]
    for item in items:
        size = "" if item.size is None else str(item.size)
        words = (item.path, size, item.sha256 or "", item.part, *item.urls)
        # A list of words in single quotes: the shell reads nothing in them but their end.
        lines.append(f"fetch {' '.join(map(quoted, words))} || failed=1")
    return _HEAD + "\n".join([*lines, "", 'exit "$failed"', ""])


def quoted(text: str) -> str:
    return "''" if not text else shlex.quote(text)
