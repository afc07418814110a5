#!/bin/sh
# Makes docker/constraints-*.txt: the versions that images install.
#
#     docker/constraints.sh            all files
#     docker/constraints.sh jax both   only these
#
# pip resolves what pyproject.toml asks for, without installing anything. It uses the indexes that
# pip is set up for. The versions are those for the Python that runs this (PYTHON, default python3).
set -eu

torch=2.13.0 # the Makefile has the same

cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"

# resolve FILE COMMENT REQUIREMENT…: writes name==version lines of all that would be installed.
resolve() {
  file=docker/$1 comment=$2
  shift 2
  "$work/venv/bin/python" -m pip install --quiet --dry-run --ignore-installed \
    --report "$work/report.json" "$@"
  {
    echo "# $comment"
    echo "# Made by docker/constraints.sh; do not edit."
    "$work/venv/bin/python" - "$work/report.json" <<'PYTHON'
import json
import re
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    found = [entry["metadata"] for entry in json.load(file)["install"]]
for name, version in sorted(
    (re.sub(r"[-_.]+", "-", metadata["name"]).lower(), metadata["version"])
    for metadata in found
):
    print(f"{name}=={version}")
PYTHON
  } >"$work/constraints.txt"
  mv "$work/constraints.txt" "$file"
  chmod 644 "$file"
  echo "$file: $(grep -c == "$file") packages"
}

[ $# -gt 0 ] || set -- none jax torch both cuda
for framework; do
  case $framework in
    none) extras="dev" ;;
    jax) extras="jax data dev" ;;
    torch) extras="torch data dev" ;;
    both | cuda) extras="jax torch data dev" ;;
    *)
      echo "constraints.sh: no constraints named '$framework'; there are none, jax, torch, both, cuda." >&2
      exit 2
      ;;
  esac
  # shellcheck disable=SC2086 # several extras
  "$work/venv/bin/python" docker/requirements.py pyproject.toml $extras >"$work/requirements.txt"
  case $framework in
    none | jax) set -- ;;
    torch | both) set -- "torch==$torch+cpu" ;;
    cuda) set -- "torch===$torch" "jax[cuda13]" ;; # === leaves out a CPU build that pip may know
  esac
  case $framework in
    cuda) comment="Versions of the packages in images with DEVICE=cuda, for all frameworks." ;;
    *) comment="Versions of the packages in images with FRAMEWORK=$framework, DEVICE=cpu." ;;
  esac
  resolve "constraints-$framework.txt" "$comment" -r "$work/requirements.txt" "$@"
done
