#!/bin/sh
# Starts a chat server with mistakes, a load on it, and Debian's Prometheus, which
# scrapes it and evaluates the rules. Needs no Docker. Ctrl-C ends all processes.
#
#   dashboards/try.sh        then http://127.0.0.1:9464/ and http://127.0.0.1:9090/alerts
set -eu
cd "$(dirname "$0")/.."
for tool in cargo prometheus; do
    if ! command -v "$tool" >/dev/null; then
        echo "try.sh: $tool is missing; apt-get install prometheus, Rust from rustup.rs" >&2
        exit 2
    fi
done
cargo build --release --bin chat-server --bin loadgen
work=$(mktemp -d)
trap 'trap - INT TERM EXIT; kill $children 2>/dev/null; wait; rm -rf "$work"' INT TERM EXIT
children=
target/release/chat-server --listen 127.0.0.1:6667 --telemetry 127.0.0.1:9464 --data-dir "$work/data" \
    --inject sleep=1500ms@0.3% --inject filter@2% --inject history@2% --inject lock@5% &
children="$children $!"
# Adds the load generator as a target: it has metrics, too.
sed "s|\"127.0.0.1:9464\"|&, \"127.0.0.1:9465\"|; s|- rules.yml|- $PWD/dashboards/prometheus/rules.yml|" \
    dashboards/prometheus/prometheus.yml >"$work/prometheus.yml"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" \
    --web.listen-address=127.0.0.1:9090 --enable-feature=exemplar-storage --log.level=warn &
children="$children $!"
sleep 1
echo "live page: http://127.0.0.1:9464/   alerts: http://127.0.0.1:9090/alerts"
target/release/loadgen run --target 127.0.0.1:6667 --connections 200 --rooms 20 --rate 60 --duration 1h -q \
    --mix privmsg:80,join:10,names:10 --metrics 127.0.0.1:9465 &
children="$children $!"
wait $!
