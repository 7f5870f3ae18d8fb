#!/usr/bin/env bash
# Installs the program from this checkout and starts its server. Run it again at any time: what is done
# already is not done anew. `./deploy.sh help` says how; docs/deployment.md says more.
set -euo pipefail
CALLED_FROM=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly CALLED_FROM CHECKOUT=$PWD
readonly STATE=$CHECKOUT/.deploy
readonly VENV=$STATE/venv PID_FILE=$STATE/server.pid LOG=$STATE/server.log TOKEN_FILE=$STATE/api-token
readonly SECONDS_TO_START=60 SECONDS_TO_STOP=30
PYTHON=${PYTHON:-python3}

usage() {
  cat <<'USAGE'
Usage: ./deploy.sh [MODE] [--port N] [--no-ui] [--foreground] [--comfyui-root DIR]
       ./deploy.sh stop | status | help

  prod     installs the program and starts it in the background (the default)
  dev      installs the checkout itself with its tests and tools; the server runs in the foreground
  runpod   like prod, for a RunPod pod (the default there): models in /workspace, open to the pod's
           proxy, with a token
  docker   builds the image and starts it with Docker Compose
  stop     ends the server that prod or runpod started
  status   whether it runs and is healthy (exit status 0) or not (1)

  --port N            the port to listen on (CMR_API_PORT, else 5002)
  --no-ui             only the API, not the page
  --foreground        do not go into the background (for systemd and other supervisors)
  --comfyui-root DIR  ComfyUI's folder (CMR_COMFYUI_ROOT)

Settings (CMR_…) are taken from the environment and from .env in this folder. With CMR_REDIS_URL the
Redis client is installed, too. The first interpreter of PYTHON (python3) makes the environment.
USAGE
}

say() { printf '%s\n' "$*"; }
fail() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}
misused() {
  printf 'deploy.sh: %s\n\n' "$*" >&2
  usage >&2
  exit 2
}

# The value of a setting: from the environment, else from .env, else the default.
setting() {
  local name=$1 line=''
  if [ -n "${!name:-}" ]; then
    printf '%s' "${!name}"
    return
  fi
  [ ! -f .env ] || line=$(sed -n "s/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}${name}[[:space:]]*=[[:space:]]*//p" .env | tail -n 1)
  case $line in
    \"*) line=${line#\"} line=${line%%\"*} ;;
    \'*) line=${line#\'} line=${line%%\'*} ;;
    *) line=${line%%[[:space:]]#*} line=${line%"${line##*[![:space:]]}"} ;;
  esac
  printf '%s' "${line:-${2:-}}"
}

# ---------------------------------------------------------------- the server's process

# The id of the server that we started, if it still runs. Ids are used again, so its words are looked at.
running() {
  local pid words
  pid=$(cat "$PID_FILE" 2>/dev/null) || return 1
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return 1
  if [ -r "/proc/$pid/cmdline" ]; then
    words=$(tr '\0' ' ' <"/proc/$pid/cmdline")
  else
    words=$(ps -o args= -p "$pid")
  fi
  case $words in
    *" serve "*) printf '%s' "$pid" ;;
    *) return 1 ;;
  esac
}

healthy() { "$1" tools/health.py --quiet; }

stop() {
  local pid waited=0
  if ! pid=$(running); then
    rm -f "$PID_FILE"
    say "The server does not run."
    return
  fi
  kill -TERM "$pid"
  while kill -0 "$pid" 2>/dev/null; do
    if [ "$waited" -ge $((SECONDS_TO_STOP * 10)) ]; then
      say "It did not end within $SECONDS_TO_STOP s and is killed. Downloads go on from where they were."
      kill -KILL "$pid" 2>/dev/null || true
      break
    fi
    sleep 0.1
    waited=$((waited + 1))
  done
  rm -f "$PID_FILE"
  say "The server (process $pid) has ended."
}

status() {
  local pid
  if ! pid=$(running); then
    say "The server does not run."
    return 1
  fi
  # Where it listens and what it asks for is what it was started with.
  # shellcheck source=/dev/null
  . "$STATE/address"
  export CMR_API_HOST CMR_API_PORT
  known_token
  if healthy "$VENV/bin/python"; then
    say "The server (process $pid) is healthy at $(address)."
  else
    say "The server (process $pid) runs but is not healthy; see $LOG."
    return 1
  fi
}

address() {
  case $CMR_API_HOST in
    *:*) printf 'http://[%s]:%s' "$CMR_API_HOST" "$CMR_API_PORT" ;;
    *) printf 'http://%s:%s' "$CMR_API_HOST" "$CMR_API_PORT" ;;
  esac
}

# ---------------------------------------------------------------- what it needs

check_python() {
  command -v "$PYTHON" >/dev/null || fail "There is no $PYTHON here. Install Python 3.10 or newer, or set PYTHON=…"
  "$PYTHON" -c 'import sys; raise SystemExit(sys.version_info < (3, 10))' ||
    fail "Python 3.10 or newer is needed; $PYTHON is $("$PYTHON" -V 2>&1). Set PYTHON=…"
}

# Otherwise the question for health could be answered by another program that was there before ours.
check_port() {
  "$PYTHON" tools/health.py --free || fail "Port $CMR_API_PORT of $CMR_API_HOST is in use by another program." \
    "Choose another one: ./deploy.sh $MODE --port N"
}

# Changes with every file that is installed and with what is asked for beside it.
fingerprint() {
  {
    printf '%s\n' "$1" "$("$PYTHON" -V 2>&1)"
    find pyproject.toml requirements.txt resolver web locales -type f \
      ! -path '*/__pycache__/*' -exec cksum {} + | LC_ALL=C sort
  } | cksum
}

install() {
  local extras='' wanted
  [ -z "$(setting CMR_REDIS_URL)" ] || extras='[redis]'
  wanted=$(fingerprint "$extras")
  if [ "$(cat "$STATE/installed" 2>/dev/null)" = "$wanted" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
    say "Installed already."
    return
  fi
  # Modules load when they are first needed: those of a running server are not replaced under it.
  if running >/dev/null; then stop; fi
  rm -f "$STATE/installed"
  say "Installing the program${extras:+ with $extras} into $VENV …"
  if ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    "$PYTHON" -m venv --clear "$VENV" ||
      fail "$PYTHON cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)."
  fi
  # From a copy: setuptools leaves a build folder beside what it builds, and takes up what lies in it.
  local copy=$STATE/source
  rm -rf "$copy"
  mkdir "$copy"
  cp -R pyproject.toml requirements.txt README.md LICENSE resolver web locales "$copy"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$copy$extras"
  rm -rf "$copy"
  printf '%s' "$wanted" >"$STATE/installed"
}

known_token() {
  CMR_API_TOKEN=$(setting CMR_API_TOKEN)
  if [ -z "$CMR_API_TOKEN" ] && [ -r "$TOKEN_FILE" ]; then CMR_API_TOKEN=$(cat "$TOKEN_FILE"); fi
  export CMR_API_TOKEN
}

# Whoever is let in from elsewhere must show a token: yours, or one that is made once and shown once.
ensure_token() {
  known_token
  [ -z "$CMR_API_TOKEN" ] || return 0
  CMR_API_TOKEN=$("$PYTHON" -c 'import secrets; print(secrets.token_urlsafe(32))')
  (umask 077 && printf '%s\n' "$CMR_API_TOKEN" >"$TOKEN_FILE.new")
  mv "$TOKEN_FILE.new" "$TOKEN_FILE"
  say "Callers must send this token, which is shown only now (and kept in $TOKEN_FILE):"
  say "    Authorization: Bearer $CMR_API_TOKEN"
}

loopback() {
  case $1 in
    127.* | localhost | ::1) return 0 ;;
    *) return 1 ;;
  esac
}

# ComfyUI's folder: as set, else the first of these that is one, else the last, made if need be.
find_root() {
  CMR_COMFYUI_ROOT=$(setting CMR_COMFYUI_ROOT)
  export CMR_COMFYUI_ROOT
  if [ -n "$CMR_COMFYUI_ROOT" ]; then
    [ -d "$CMR_COMFYUI_ROOT" ] || fail "CMR_COMFYUI_ROOT names $CMR_COMFYUI_ROOT, which is not a folder."
    return
  fi
  local folder
  for folder in "$@"; do
    if [ -f "$folder/folder_paths.py" ]; then
      CMR_COMFYUI_ROOT=$folder
      return
    fi
  done
  CMR_COMFYUI_ROOT=${!#}
  [ ! -d "$CMR_COMFYUI_ROOT/models" ] || return 0
  mkdir -p "$CMR_COMFYUI_ROOT/models"
  say "No ComfyUI was found. Models go to $CMR_COMFYUI_ROOT/models; CMR_COMFYUI_ROOT names another folder."
}

# ---------------------------------------------------------------- modes

# All that a running server was started with; if it is the same as now, it may go on.
launch_words() {
  {
    printf '%s\n' "$CMR_COMFYUI_ROOT"
    env | LC_ALL=C sort | grep -iE '^(CMR_|HF_TOKEN=|HF_ENDPOINT=|RUNPOD_POD_ID=|HTTPS?_PROXY=|NO_PROXY=)' || true
    cat .env "$STATE/installed" 2>/dev/null || true
  } | cksum
}

start() {
  local launch pid waited=0
  launch=$(launch_words)
  if pid=$(running); then
    if [ "$(cat "$STATE/launched" 2>/dev/null)" = "$launch" ] && healthy "$VENV/bin/python"; then
      say "The server (process $pid) runs already, at $(address)."
      return
    fi
    stop
  fi
  check_port
  printf 'CMR_API_HOST=%q\nCMR_API_PORT=%q\n' "$CMR_API_HOST" "$CMR_API_PORT" >"$STATE/address"
  local command=("$VENV/bin/comfy-model-resolver" serve --host "$CMR_API_HOST" --port "$CMR_API_PORT")
  if [ -n "$FOREGROUND" ]; then
    printf '%s\n' $$ >"$PID_FILE"
    exec "${command[@]}" 9>&-
  fi
  if [ -f "$LOG" ]; then mv "$LOG" "$LOG.1"; fi
  nohup "${command[@]}" >"$LOG" 2>&1 </dev/null 9>&- &
  pid=$!
  printf '%s\n' "$pid" >"$PID_FILE"
  until healthy "$VENV/bin/python"; do
    if ! kill -0 "$pid" 2>/dev/null; then
      rm -f "$PID_FILE"
      tail -n 20 "$LOG" >&2
      fail "The server did not start. Its last words are above; all of them are in $LOG."
    fi
    if [ "$waited" -ge $((SECONDS_TO_START * 5)) ]; then
      stop
      fail "The server was not healthy within $SECONDS_TO_START s and was stopped; see $LOG."
    fi
    sleep 0.2
    waited=$((waited + 1))
  done
  printf '%s' "$launch" >"$STATE/launched"
  say "The server (process $pid) is healthy at $(address). It writes to $LOG; ./deploy.sh stop ends it."
}

prod() {
  CMR_API_HOST=$(setting CMR_API_HOST 127.0.0.1)
  find_root "$(cd ../.. && pwd)" "$STATE/ComfyUI"
  installed_and_started
}

runpod() {
  [ -n "${RUNPOD_POD_ID:-}" ] || fail "This is not a RunPod pod: RUNPOD_POD_ID is not set. Use ./deploy.sh prod."
  local workspace=${WORKSPACE:-/workspace}
  [ -d "$workspace" ] || fail "The pod has no volume at $workspace. Attach one, or set WORKSPACE to where it is."
  CMR_API_HOST=$(setting CMR_API_HOST 0.0.0.0)
  find_root "$workspace/runpod-slim/ComfyUI" "$workspace/ComfyUI"
  installed_and_started
  say "Outside: https://$RUNPOD_POD_ID-$CMR_API_PORT.proxy.runpod.net, once $CMR_API_PORT is among the pod's HTTP ports."
}

installed_and_started() {
  export CMR_API_HOST
  check_python
  if ! running >/dev/null; then check_port; fi
  if loopback "$CMR_API_HOST"; then known_token; else ensure_token; fi
  install
  start
}

dev() {
  check_python
  if [ ! -e .venv/.ready ] || [ pyproject.toml -nt .venv/.ready ] || [ requirements.txt -nt .venv/.ready ]; then
    say "Installing the checkout with its tests and tools into $CHECKOUT/.venv …"
    tools/setup.sh "$PYTHON" .venv
    touch .venv/.ready
  fi
  CMR_API_HOST=$(setting CMR_API_HOST 127.0.0.1)
  export CMR_API_HOST
  check_port
  if ! loopback "$CMR_API_HOST"; then ensure_token; fi
  find_root "$(cd ../.. && pwd)" "$STATE/ComfyUI"
  exec .venv/bin/python -m resolver serve --host "$CMR_API_HOST" --port "$CMR_API_PORT" 9>&-
}

docker_compose() {
  command -v docker >/dev/null || fail "Docker is not installed here. Use ./deploy.sh prod, which needs only Python."
  docker compose version >/dev/null 2>&1 || fail "This Docker has no Compose: install its plugin (docker compose)."
  docker version >/dev/null 2>&1 || fail "Docker's engine does not answer. Is it running, and may you use it?"
  check_python
  ensure_token
  find_root "$(cd ../.. && pwd)" "$STATE/ComfyUI"
  local profile=()
  if [ -n "$(setting CMR_REDIS_URL)" ]; then profile=(--profile redis); fi
  docker compose ${profile[@]+"${profile[@]}"} up --build --detach --wait
  say "The server is healthy at http://127.0.0.1:$CMR_API_PORT. \`docker compose down\` ends it."
}

# ---------------------------------------------------------------- arguments

MODE='' FOREGROUND=''
CMR_API_PORT=$(setting CMR_API_PORT 5002)
while [ $# -gt 0 ]; do
  case $1 in
    dev | prod | runpod | docker | stop | status | help)
      [ -z "$MODE" ] || misused "Name one mode, not $MODE and $1."
      MODE=$1
      ;;
    -h | --help) MODE=help ;;
    --no-ui) export CMR_ENABLE_UI=false ;;
    --foreground) FOREGROUND=1 ;;
    --port | --comfyui-root)
      [ $# -ge 2 ] || misused "$1 needs a value."
      if [ "$1" = --port ]; then CMR_API_PORT=$2; else export CMR_COMFYUI_ROOT=$2; fi
      case ${CMR_COMFYUI_ROOT:-/} in /*) ;; *) CMR_COMFYUI_ROOT=$CALLED_FROM/$CMR_COMFYUI_ROOT ;; esac
      shift
      ;;
    *) misused "There is no $1." ;;
  esac
  shift
done
if ! [[ $CMR_API_PORT =~ ^[1-9][0-9]{0,4}$ ]] || [ "$CMR_API_PORT" -gt 65535 ]; then
  misused "A port is a number from 1 to 65535, not $CMR_API_PORT."
fi
export CMR_API_PORT
if [ -z "$MODE" ]; then
  if [ -n "${RUNPOD_POD_ID:-}" ]; then MODE=runpod; else MODE=prod; fi
fi

if [ "$MODE" != help ]; then
  (umask 077 && mkdir -p "$STATE")
  # One at a time, where the system has a way to wait for another.
  if command -v flock >/dev/null; then
    exec 9>"$STATE/lock"
    flock 9
  fi
fi

case $MODE in
  help) usage ;;
  dev) dev ;;
  prod) prod ;;
  runpod) runpod ;;
  docker) docker_compose ;;
  stop) stop ;;
  status) status ;;
esac
