#!/usr/bin/env bash
# The contract with plain curl: create a dataset, be answered at once, watch its phases, fetch its tiles.
#
#   tests/test_async_dataset.sh                          starts an embedded stack, and stops it at the end
#   tests/test_async_dataset.sh http://127.0.0.1:8000    tests a running one
#
# SOURCE_URL=…   the image to submit. Without it a picture of the Earth is served from this machine, which a running
#                stack only takes if it was started with --allow-source 127.0.0.1.
# TIMEOUT=…      seconds to wait for the end (default 300).
set -euo pipefail

base=${1:-}
timeout=${TIMEOUT:-300}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3
work=$(mktemp -d)
children=()

finish() {
  for child in "${children[@]}"; do
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() { echo "FAILED: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }

# field NAME: the value at a dotted path of the JSON on standard input; empty where there is none.
field() {
  "$python" -c '
import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    value = value.get(name) if isinstance(value, dict) else None
print("" if value is None else str(value).lower() if isinstance(value, bool) else value)' "$1"
}

# first_line FILE PID: waits until the process has written a line, and prints it.
first_line() {
  until [ -s "$1" ] && read -r line < "$1"; do
    kill -0 "$2" 2>/dev/null || return 1
    sleep 0.1
  done
  echo "$line"
}

if [ -z "${SOURCE_URL:-}" ]; then
  say "Serving a picture from this machine"
  "$python" -u - > "$work/pictures" <<'PYTHON' &
import time
from tilewright.commands.pictures import earth, served

with served(earth().parent) as url:
    print(f"{url}/etopo1.jpg", flush=True)
    while True:
        time.sleep(3600)
PYTHON
  children+=($!)
  SOURCE_URL=$(first_line "$work/pictures" $!) || fail "the picture's server did not start"
fi
echo "source: $SOURCE_URL"

if [ -z "$base" ]; then
  say "Starting the embedded stack"
  source_host=${SOURCE_URL#*://}
  "$python" -m tilewright up --port 0 --grpc-port 0 --data "$work/data" --allow-source "${source_host%%/*}" \
    > "$work/ready" 2> "$work/log" &
  children+=($!)
  ready=$(first_line "$work/ready" $!) || { cat "$work/log" >&2; fail "the stack did not start"; }
  echo "$ready"
  base=$(cut -d ' ' -f 2 <<< "$ready")
fi
base=${base%/}

say "POST /api/datasets"
code=$(curl -sS -o "$work/answer" -D "$work/headers" -w '%{http_code} %{time_total}' -X POST "$base/api/datasets" \
  -H 'Content-Type: application/json' \
  -d "{\"name\": \"The Earth\", \"description\": \"ETOPO1\", \"category\": \"maps\", \"subject\": \"relief\", \"url\": \"$SOURCE_URL\"}")
cat "$work/answer"; echo
echo "answered with ${code% *} after ${code#* } s"
[ "${code% *}" = 202 ] || fail "expected 202"
[ "$(field success < "$work/answer")" = true ] || fail "success is not true"
[ "$(field status < "$work/answer")" = processing ] || fail "status is not processing"
[ "$(field message < "$work/answer")" = "Dataset created, processing tiles" ] || fail "another message than agreed"
id=$(field dataset_id < "$work/answer")
[[ $id =~ ^custom_[0-9a-f]{8,}$ ]] || fail "'$id' is not a dataset's id"
grep -qi '^location: .*/api/datasets/'"$id" "$work/headers" || fail "no Location header"

say "It is in the catalogue from that moment"
curl -sSf "$base/api/datasets/$id" > "$work/dataset"
[ "$(field name < "$work/dataset")" = "The Earth" ] || fail "another name than was given"
curl -sSf "$base/api/datasets" | grep -q "$id" || fail "the catalogue does not list it"
echo "yes"

say "GET /api/datasets/$id/status until it ends"
curl -sSf "$base/api/datasets/$id/status"; echo
last=""
deadline=$((SECONDS + timeout))
while true; do
  curl -sSf "$base/api/datasets/$id/status" > "$work/status"
  status=$(field status < "$work/status")
  phase="$status $(field progress < "$work/status")"
  if [ "$phase" != "$last" ]; then
    echo "$phase  $(field message < "$work/status")"
    last=$phase
  fi
  case $status in
    ready) break ;;
    failed) cat "$work/status" >&2; fail "the dataset failed" ;;
    queued | processing) ;;
    *) fail "'$status' is no status of the contract" ;;
  esac
  [ $SECONDS -lt $deadline ] || fail "not ready after $timeout seconds"
  sleep 0.2
done

say "tile_info"
cat "$work/status"; echo
tile_id=$(field tile_info.tile_id < "$work/status")
max_zoom=$(field tile_info.max_zoom < "$work/status")
format=$(field tile_info.format < "$work/status")
[[ $tile_id =~ ^[0-9a-f]{64}$ ]] || fail "'$tile_id' is not a tile_id"
[[ $max_zoom =~ ^[0-9]+$ ]] || fail "'$max_zoom' is not a zoom"
[ "$(field tile_info.status < "$work/status")" = completed ] || fail "tile_info.status is not completed"

# fetch URL TYPE: fetches, checks the content type, and that something came.
fetch() {
  local answer
  answer=$(curl -sSf -o "$work/body" -w '%{content_type} %{size_download}' "$1") || fail "no answer from $1"
  [[ $answer == "$2"* ]] || fail "$1 is '$answer', not $2"
  [ -s "$work/body" ] || fail "$1 is empty"
  echo "$1  $answer bytes"
}

say "Tiles"
image=image/${format/jpg/jpeg}
fetch "$base/tiles/$tile_id.dzi" "application/xml"
grep -q 'Overlap="0"' "$work/body" || fail "the descriptor does not say overlap 0"
fetch "$base/tiles/${tile_id}_files/0/0_0.$format" "$image"
fetch "$base/tiles/$tile_id/0/0/0.$format" "$image"
fetch "$base/tiles/$tile_id/$max_zoom/0/0.$format" "$image"

printf '\nPASSED: %s is ready at %s/view/%s\n' "$id" "$base" "$id"
