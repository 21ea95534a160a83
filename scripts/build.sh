#!/usr/bin/env bash
# Sets up, configures, builds, and makes .venv/bin/onnuri and `import onnuri` work.
. "$(dirname "$0")/common.sh"
scripts/setup.sh "$@"

export CCACHE_DIR="${CCACHE_DIR:-$root/.ccache}"
if [ ! -e "$build_dir/build.ninja" ]; then
  say "Configuring ($preset)"
  cmake --preset "$preset" \
    -DPython_EXECUTABLE="$venv/bin/python" \
    -Dpybind11_DIR="$("$venv/bin/python" -m pybind11 --cmakedir)" >/dev/null
fi
say "Building ($preset)"
cmake --build "$build_dir" -j "$jobs"

ln -sfn "$build_dir/demos/cli/onnuri" "$venv/bin/onnuri"
site="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
echo "$build_dir/python" > "$site/onnuri.pth"
