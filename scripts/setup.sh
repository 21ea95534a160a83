#!/usr/bin/env bash
# Installs what is missing: Debian packages, then a Python environment in .venv. Safe to repeat;
# when nothing is missing it takes a moment and says nothing. Arguments name extra package lists
# (scripts/packages-NAME.txt, demos/NAME/requirements.txt).
. "$(dirname "$0")/common.sh"

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "expected root or sudo to install packages: $*"
  fi
}

install_debian_packages() {
  local wanted missing=() have
  mapfile -t wanted < <(cat "$@" | grep -v '^#')
  if ! command -v dpkg-query >/dev/null; then
    say "Not a Debian system: make sure that these are installed: ${wanted[*]}"
    return
  fi
  have="$(dpkg-query -W -f '${Package} ${Status}\n' | awk '/ install ok installed$/ {print $1}')"
  for package in "${wanted[@]}"; do
    grep -qx -- "$package" <<<"$have" || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  say "Installing Debian packages: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    "${missing[@]}"
}

# install_python_packages REQUIREMENTS: once per content of the file.
install_python_packages() {
  local requirements="$1" stamp
  stamp="$venv/.installed-$(sha256sum "$requirements" | cut -c1-16)"
  [ -e "$stamp" ] && return
  say "Installing Python packages from $requirements into .venv"
  "$venv/bin/python" -m pip install --disable-pip-version-check -q -r "$requirements"
  touch "$stamp"
}

lists=(scripts/packages.txt)
for extra in "$@"; do
  if [ -e "scripts/packages-$extra.txt" ]; then lists+=("scripts/packages-$extra.txt"); fi
done
install_debian_packages "${lists[@]}"

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
  say "Creating the Python environment .venv"
  python3 -m venv "$venv"
fi
install_python_packages python/requirements.txt
for extra in "$@"; do
  if [ -e "demos/$extra/requirements.txt" ]; then
    install_python_packages "demos/$extra/requirements.txt"
  fi
done
