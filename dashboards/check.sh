#!/bin/sh
# Checks everything in dashboards/ that needs no running Grafana: rules and their
# tests, configuration, exposition, dashboards and the syntax of their
# expressions. Needs promtool and python3.
#
#   dashboards/check.sh                                  the files
#   dashboards/check.sh http://127.0.0.1:9464/metrics    and the output of a running service
set -eu
cd "$(dirname "$0")"

for tool in promtool python3; do
    if ! command -v "$tool" >/dev/null; then
        echo "check.sh: $tool is missing; on Debian: apt-get install prometheus python3" >&2
        exit 2
    fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

promtool check rules prometheus/rules.yml
promtool test rules prometheus/rules_test.yml
python3 rolling.py >"$work/rolling.yml"
promtool test rules "$work/rolling.yml"
promtool check config prometheus/prometheus.yml
promtool check metrics <prometheus/exposition.txt
echo "exposition.txt: no fault"

if [ $# -gt 0 ]; then
    python3 - "$1" >"$work/metrics" <<'PYTHON'
import sys, urllib.request
sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
PYTHON
    promtool check metrics <"$work/metrics"
    echo "$1: no fault"
fi

python3 generate --check
python3 lint.py "$work/panels.yml"
promtool check rules "$work/panels.yml"

# Checks against Grafana's schema need its SDK: pip install grafana-foundation-sdk
if python3 -c 'import grafana_foundation_sdk' 2>/dev/null; then
    python3 schema.py
else
    echo "NOT CHECKED: the dashboards by Grafana's schema (pip install grafana-foundation-sdk)" >&2
fi
