#!/usr/bin/env bash
# Installs this checkout into a virtual environment, as the image, the nodes of the launchers and a test do:
#
#   infra/install.sh cpu|gpu FOLDER [PYTHON]
#
# TORCH_INDEX, where set, is an index to take PyTorch's build from: the CPU-only one is a tenth of the default in size.
set -euo pipefail

fail() { echo "install.sh: $1" >&2; exit "$2"; }

variant=${1:?cpu or gpu} folder=${2:?where the virtual environment goes} python=${3:-python3}
case "$variant" in cpu | gpu) ;; *) fail "$variant is neither cpu nor gpu" 2 ;; esac
cd "$(dirname "$0")/.."

"$python" -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --constraint constraints.txt)
if [ -n "${TORCH_INDEX:-}" ]; then # nothing but PyTorch comes from there
    "${pip[@]}" --no-deps --index-url "$TORCH_INDEX" torch
fi
"${pip[@]}" ".[$variant]"

# Without a compiler the install succeeds all the same; a node that scans with NumPy would slow all others down.
cd / # or the checkout's own code would be imported
"$folder/bin/python" -c "import pipeline.mining.backends.native._native" || fail "no compiled scan: install gcc and Python's headers" 1
