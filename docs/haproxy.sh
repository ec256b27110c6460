#!/usr/bin/env bash
# Runs two stage 5 servers behind HAProxy (docs/haproxy.cfg) and writes down what happens:
#
#   docs/haproxy.sh > docs/captures/haproxy.txt
#
# Needs haproxy, ss, the OpenBSD nc and the ports 9500 to 9502. Each step waits for what it needs to see, and fails
# after ten seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build -q -p stage5-mio
server=${CARGO_TARGET_DIR:-target}/debug/stage5-mio
dir=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill -CONT "$pid" && kill "$pid"; done 2>/dev/null; rm -r "$dir"' EXIT

# start FILE COMMAND…: in the background, with what it says in FILE; its pid is then in `started`.
start() {
    local file=$1; shift
    : > "$dir/$file"
    # Not with our clients' descriptors: closing our copy would not end the connection.
    "$@" > "$dir/$file" 2>&1 3>&- 4>&- &
    started=$!
    pids+=("$started")
}

# wait_for FILE TEXT: until a line of FILE that we have not shown yet has TEXT in it.
wait_for() {
    local deadline=$((SECONDS + 10))
    until tail -n "+$((${shown[$1]:-0} + 1))" "$dir/$1" | grep -q -- "$2"; do
        if ((SECONDS > deadline)); then echo "$1 never said: $2" >&2; cat "$dir/$1" >&2; exit 1; fi
        sleep 0.02
    done
}

# show FILE TEXT: the lines of FILE with TEXT in them since we last looked.
declare -A shown
show() {
    tail -n "+$((${shown[$1]:-0} + 1))" "$dir/$1" | grep -- "$2" | sed -e "s/^/$1: /" -e 's/, check duration.*/ …/' || true
    shown[$1]=$(wc -l < "$dir/$1")
}

say() { printf '\n# %s\n' "$*"; }
run() { printf '$ %s\n' "$1"; timeout 10 bash -c "$1"; echo; }

echo "# $(uname -s) $(uname -r | cut -d- -f1), $(date -u +%F), $(haproxy -v | head -1 | cut -d- -f1): docs/haproxy.sh"
echo "# (two stage 5 servers on ports 9501 and 9502, HAProxy on 9500)"

start one "$server" 127.0.0.1:9501; one=$started; wait_for one "listening"
start two "$server" 127.0.0.1:9502; two=$started; wait_for two "listening"
haproxy -c -f docs/haproxy.cfg > "$dir/check" 2>&1 || { cat "$dir/check" >&2; exit 1; }
# What it logs goes to stdout; on stderr it says the same again.
start haproxy bash -c 'exec haproxy -f docs/haproxy.cfg 2> /dev/null'
until [ -n "$(ss -Hltn 'sport = :9500')" ]; do sleep 0.02; done

say "A half-close passes through, and every byte comes back."
run "printf 'last words' | nc -N 127.0.0.1 9500"
run "head -c 8388608 /dev/zero | nc -N 127.0.0.1 9500 | wc -c"
wait_for haproxy "8388608 bytes"; show haproxy "client"

say "Two clients at the same time: one on each server."
exec 3<> /dev/tcp/127.0.0.1/9500; echo "the third client" >&3; read -r -t 10 line <&3; echo "$line"
exec 4<> /dev/tcp/127.0.0.1/9500; echo "the fourth client" >&4; read -r -t 10 line <&4; echo "$line"

say "We stop server one (SIGTERM). Its client sees an end, no error; the next one is served."
kill "$one"; wait "$one" && echo "server one: exit $?"
show one "stopping"
read -r -t 10 line <&3 || echo "the third client: end"
exec 3>&-
run "echo 'the fifth client' | nc -N 127.0.0.1 9500"
wait_for haproxy "one is DOWN"; show haproxy "client\|DOWN"

say "The fourth client has noticed nothing. Server one starts again."
echo "still here" >&4; read -r -t 10 line <&4; echo "$line"
start one "$server" 127.0.0.1:9501; one=$started
wait_for haproxy "one is UP"; show haproxy "UP"

say "We freeze server two (SIGSTOP). Its kernel still accepts; only the ping finds out."
kill -STOP "$two"
echo "is anybody there?" >&4
wait_for haproxy "two is DOWN"; show haproxy "DOWN"
run "echo 'the sixth client' | nc -N 127.0.0.1 9500"
wait_for haproxy "client"; show haproxy "client"

say "It thaws (SIGCONT): what the fourth client said comes back, late."
kill -CONT "$two"
read -r -t 10 line <&4; echo "$line"
exec 4>&-
wait_for haproxy "two is UP"; show haproxy "client\|UP"
