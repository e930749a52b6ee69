#!/usr/bin/env bash
# Installs the packages of packages.txt that are missing. Asks apt only when something is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sudo=$([ "$(id -u)" = 0 ] || echo sudo)

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
# Ubuntu fills apt-cache with names it only mentions, so ask for a candidate version.
available() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'; }

missing=()
while read -r line; do
  choices=(${line//|/ })
  for choice in "${choices[@]}"; do installed "$choice" && continue 2; done
  missing+=("$line")
done < <(grep -v '^#' "$here/packages.txt" | sed '/^$/d')
[ ${#missing[@]} = 0 ] && exit 0

echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
wanted=()
for line in "${missing[@]}"; do
  choices=(${line//|/ })
  pick=${choices[0]}
  for choice in "${choices[@]}"; do available "$choice" && { pick=$choice; break; }; done
  wanted+=("$pick")
done
$sudo apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
