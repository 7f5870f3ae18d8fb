#!/usr/bin/env bash
# Programs that the tests and benches run beside us: use what is installed, else install it, else fail
# clearly. Usage: tools/programs.sh browser redis-server nginx …
set -euo pipefail

missing=()
for program in "$@"; do
  case "$program" in
    browser)
      found=
      for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        if [ -n "$name" ] && command -v "$name" >/dev/null; then found=1; fi
      done
      [ -n "$found" ] || missing+=(chromium fonts-noto-cjk)
      ;;
    nginx) command -v nginx >/dev/null || missing+=(nginx-light) ;;
    aria2c) command -v aria2c >/dev/null || missing+=(aria2) ;;
    *) command -v "$program" >/dev/null || missing+=("$program") ;;
  esac
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "Installing ${missing[*]} …"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  exit 0
fi

echo "Please install: ${missing[*]} (for a browser elsewhere, set CHROMIUM to its path)." >&2
exit 1
