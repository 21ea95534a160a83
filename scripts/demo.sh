#!/usr/bin/env bash
# The demo on real models: sets up what it needs beyond the build, then runs it.
. "$(dirname "$0")/common.sh"
scripts/setup.sh signs
exec "$venv/bin/python" demos/first_light.py "$@"
