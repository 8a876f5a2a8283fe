#!/usr/bin/env bash
# Sees to it that commands of the system are there: scripts/system-packages.sh COMMAND:PACKAGE...
# As root on Debian the missing packages are installed; otherwise one line says what to install.
set -euo pipefail
# Debian keeps PostgreSQL's programs out of the way, by version.
for directory in /usr/sbin /sbin /usr/lib/postgresql/*/bin; do
    PATH="$PATH:$directory"
done

missing=()
for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing from the system: ${missing[*]} (Debian: sudo apt-get install ${missing[*]})" >&2
    exit 1
fi
echo "Installing from Debian: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# An index may be there already; it is only fetched when a package is not found in it.
apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}
