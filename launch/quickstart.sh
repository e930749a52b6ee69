#!/usr/bin/env bash
# From a bare Debian machine to an answer: installs, builds, starts the local cluster on the demo model, asks it.
# --stay keeps the cluster running.
set -euo pipefail
cd "$(dirname "$0")/.."
stay=no; [ "${1:-}" = --stay ] && stay=yes
port=${TROUPE_PORT:-8000}
url=http://127.0.0.1:$port
question=${TROUPE_QUESTION:-What is 4821 + 3979?}
log=build/quickstart.log

./launch/install.sh
cmake --preset release >/dev/null
cmake --build --preset release -j "$(nproc)" --target troupe
troupe=build/release/bin/troupe

echo "starting four processes: router + supervisor, kv_cache, two expert_shards (log: $log)"
$troupe launch examples/recipes/local.yaml --port "$port" >"$log" 2>&1 &
cluster=$!
trap '[ $stay = yes ] || { kill -TERM $cluster 2>/dev/null && wait $cluster; }' EXIT
for _ in $(seq 300); do
  curl -sf "$url/ready" >/dev/null && break
  kill -0 $cluster 2>/dev/null || { echo "the cluster stopped while starting; its last words:"; tail -n 20 "$log"; exit 1; }
  sleep 0.2
done
curl -sf "$url/ready" >/dev/null || { echo "not ready after 60 s; see $log"; exit 1; }

$troupe status --url "$url"
echo
echo "> $question"
$troupe chat --url "$url" "$question"
echo
if [ $stay = yes ]; then
  trap - EXIT
  echo "The cluster keeps running as process $cluster; stop it with: kill $cluster"
fi
cat <<EOF
Go on with
  ./launch/quickstart.sh --stay                 keep the cluster running
  $troupe chat --url $url                talk to it
  curl $url/v1/models                    or use any OpenAI client
  $troupe --help                               everything else
EOF
