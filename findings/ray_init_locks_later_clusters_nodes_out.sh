#!/usr/bin/env bash
# Guess: `ray start --head` and `ray start --address` on one machine, by one user, make a cluster of two nodes whatever
# ran there before. Seen (ray 2.60.0): that holds on a fresh home. Once any script has called ray.init("local"), it has
# left a token in ~/.ray/auth_token, and from then on `ray start --head` finds it, turns token authentication on by
# itself, and refuses its own nodes and drivers, which don't use that very token unless RAY_AUTH_MODE=token is set for
# them, too: `ray start --address` fails, and ray.init(address=...) raises ConnectionError("Failed to connect to Ray
# cluster") after some 20 s, which speaks of no token. Setting the variable between `import ray` and ray.init() is too
# late, as the mode is read by the import: the local cluster then refuses its own driver. Hurts: a launcher that makes a
# local cluster for a first try breaks the real cluster of the same user. Set RAY_AUTH_MODE=token everywhere, and
# RAY_AUTH_MODE and RAY_AUTH_TOKEN before the import where no file should be left.
set -euo pipefail
work="$(mktemp -d)"
export HOME="$work/home" RAY_USAGE_STATS_ENABLED=0 RAY_TMPDIR="/tmp/r$$"
mkdir -p "$HOME" "$RAY_TMPDIR"
unset RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH RAY_ADDRESS
groups=()
end() { for one in "${groups[@]}"; do kill -TERM -- "-$one" 2>/dev/null || true; done; groups=(); sleep 3; }
trap 'end; rm -rf "$work" "$RAY_TMPDIR"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install -q --only-binary :all: 'ray==2.60.0'
port="$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
start() {  # name, then what ray start is given; it stays until it is ended
  local name="$1"; shift
  setsid venv/bin/ray start "$@" --num-cpus 1 --block --node-ip-address 127.0.0.1 >"$name.log" 2>&1 &
  groups+=("$!")
  for _ in $(seq 90); do
    if grep -q "runtime started" "$name.log"; then return 0; fi
    if ! kill -0 "$!" 2>/dev/null; then return 1; fi
    sleep 1
  done
  return 1
}
cat >driver.py <<'PY'
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False)
    print(sum(node["Alive"] for node in ray.nodes()), "nodes")
except ConnectionError as error:
    print("ConnectionError:", " ".join(str(error).split())[:40], "| token" if "token" in str(error).lower() else "| no word of a token")
PY
start head1 --head --port "$port" && start node1 --address "127.0.0.1:$port"
fresh="$(timeout 90 venv/bin/python driver.py "127.0.0.1:$port" 2>/dev/null | tail -1)"
end
venv/bin/python -c 'import ray; ray.init("local", log_to_driver=False); ray.shutdown()' >/dev/null 2>&1
test -s "$HOME/.ray/auth_token"
start head2 --head --port "$port"
if start node2 --address "127.0.0.1:$port"; then joined=yes; else joined=no; fi
locked="$(timeout 90 venv/bin/python driver.py "127.0.0.1:$port" 2>/dev/null | tail -1)"
opened="$(RAY_AUTH_MODE=token timeout 90 venv/bin/python driver.py "127.0.0.1:$port" 2>/dev/null | tail -1)"
end
rm -rf "$HOME/.ray"
late="$(timeout 120 venv/bin/python - 2>/dev/null <<'PY' | tail -1
import os, secrets, ray
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
try:
    ray.init("local", log_to_driver=False)
    print("started")
except Exception as error:
    print(type(error).__name__)
PY
)"
echo "fresh home: $fresh; after one ray.init(): node joins: $joined, driver: $locked"
echo "with RAY_AUTH_MODE=token: $opened; set after the import: ${late:-nothing within 120 s}"
test "$fresh" = "2 nodes"
test "$joined" = no
case "$locked" in "ConnectionError: Failed to connect"*"no word of a token") ;; *) exit 1 ;; esac
test "$opened" = "1 nodes"
test "$late" != started
