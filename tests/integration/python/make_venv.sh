#!/usr/bin/env bash
# Makes build/venv-openai with the packages of requirements.txt, unless it is there and up to date.
set -euo pipefail
cd "$(dirname "$0")/../../.."
wanted=tests/integration/python/requirements.txt
venv=build/venv-openai
cmp -s "$wanted" "$venv/requirements.txt" && exit 0
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
cp "$wanted" "$venv/requirements.txt"
