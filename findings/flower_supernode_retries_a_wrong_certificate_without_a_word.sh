#!/usr/bin/env bash
# Guess: a SuperNode that meets a TLS certificate that is not good for the address it was given says so and ends, as
# curl, pip and a gRPC client do. Seen (flwr 1.42.0): with a certificate of another name, one of another authority, or
# one that has expired, it tries again for ever, and its log says "Connection attempt failed, retrying in N seconds" and
# nothing of a certificate, a name, an authority or a date, even at FLWR_LOG_LEVEL=DEBUG: the very lines that a
# SuperLink gives that is not started yet. Hurts: four hospitals wait for a federation that can never begin, and each
# looks for the fault in its firewall. Make the handshake yourself, by `openssl s_client -verify_return_error` or
# Python's ssl, before a SuperNode is started.
set -euo pipefail
work="$(mktemp -d)"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; sleep 1; rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install -q --only-binary :all: 'flwr==1.42.0'
export FLWR_HOME="$work/home" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 FLWR_LOG_LEVEL=DEBUG
export PATH="$work/venv/bin:$PATH"
mkdir -p "$FLWR_HOME"
authority() { openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.pem" -days 30 -subj "/CN=$1" 2>/dev/null; }
authority ours
authority theirs
leaf() {  # name, subject alternative name, first and last day
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null
  printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "$2" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ours.pem -CAkey ours.key -CAcreateserial -out "$1.pem" -extfile "$1.ext" "${@:3}" 2>/dev/null
}
leaf good IP:127.0.0.1 -days 30
leaf renamed DNS:federation.example -days 30
port="$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
try() {  # name of the server's certificate, authority that the SuperNode knows; its log without colours
  flower-superlink --ssl-certfile "$1.pem" --ssl-keyfile "$1.key" --ssl-ca-certfile ours.pem --host 127.0.0.1 \
    --port "$port" --isolation process >"link-$1-$2.log" 2>&1 &
  pids+=("$!"); link="$!"
  for _ in $(seq 60); do (echo >"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.5; done
  timeout 25 flower-supernode --superlink "127.0.0.1:$port" --root-certificates "$2.pem" --isolation process \
    --port "$((port + 1))" >"node-$1-$2.log" 2>&1 || true
  kill "$link"; wait "$link" 2>/dev/null || true
  sed 's/\x1b\[[0-9;]*m//g' "node-$1-$2.log"
}
connected="$(try good ours)"
name="$(try renamed ours)"
unknown="$(try good theirs)"
says() { grep -ciE "certif|verify|hostname|authority|ssl|tls" <<<"$1" || true; }
tries() { grep -c "Connection attempt failed, retrying" <<<"$1" || true; }
echo "good: $(grep -c 'SuperNode ID' <<<"$connected") connected"
echo "another name: $(tries "$name") tries, $(says "$name") lines that say why; ended by itself: $(grep -c 'Exit Code' <<<"$name" || true)"
echo "another authority: $(tries "$unknown") tries, $(says "$unknown") lines that say why; ended by itself: $(grep -c 'Exit Code' <<<"$unknown" || true)"
grep -q "SuperNode ID" <<<"$connected"
for log in "$name" "$unknown"; do
  test "$(tries "$log")" -ge 2
  test "$(says "$log")" = 0
  ! grep -q "Exit Code" <<<"$log"
done
