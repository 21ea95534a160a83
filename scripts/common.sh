# Shared by the scripts: where we are, and how we speak.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
preset="${ONNURI_PRESET:-release}"
build_dir="$root/build/$preset"
venv="$root/.venv"
jobs="${ONNURI_JOBS:-$(nproc)}"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'onnuri: %s\n' "$*" >&2; exit 1; }
