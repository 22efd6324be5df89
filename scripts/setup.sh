#!/bin/sh
# Prepares a Debian 12 machine for building, testing and the demo; says little, and does nothing where all is there.
#
#   scripts/setup.sh [HAProxy series ...]      default: 3.4; 2.6 is Debian's own
#
# Installs Debian packages where they are missing (the only step that needs root), makes .venv, compiles the Cython
# fast path, fetches HAProxy. No service is started by it, and Docker Engine only installed where there is none.
set -eu
cd "$(dirname "$0")/.."
SERIES=${*:-3.4}
PYTHON=/usr/bin/python3
POLICY=/usr/sbin/policy-rc.d

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

[ -r /etc/os-release ] && . /etc/os-release
[ "${ID:-}" = debian ] || say "this is not Debian: what follows was tried on Debian 12 only"

# -- Debian packages -------------------------------------------------------------------------------------------------

missing_packages() {
    for package in python3-venv python3-dev gcc libc6-dev make haproxy iproute2 iptables mmdebstrap curl \
        ca-certificates debian-archive-keyring util-linux procps pebble nginx libnginx-mod-stream; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
    done
    command -v dockerd >/dev/null || printf 'docker.io containerd runc '
    # Where the kernel has AppArmor, Docker needs its parser.
    if grep -qs Y /sys/module/apparmor/parameters/enabled && ! command -v apparmor_parser >/dev/null; then
        printf 'apparmor '
    fi
}

# While packages are installed, nobody may start their services (policy-rc.d, Debian Policy section 9.3.3).
forbid_services() {
    if [ -e "$POLICY" ] || [ -L "$POLICY" ]; then mv "$POLICY" "$POLICY.l7-saved"; fi
    trap allow_services EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

allow_services() {
    trap - EXIT INT TERM
    rm -f "$POLICY"
    if [ -e "$POLICY.l7-saved" ] || [ -L "$POLICY.l7-saved" ]; then mv "$POLICY.l7-saved" "$POLICY"; fi
}

install_packages() {
    [ "$(id -u)" = 0 ] || fail "missing: $*; run it as root, or: apt-get install $*"
    say "installing $*"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    forbid_services
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends "$@"; } >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "apt-get failed (its output: $log)"
    }
    rm -f "$log"
    allow_services
    # Nor should they start with the machine: tests and demo run their own.
    command -v systemctl >/dev/null || return 0
    for package in "$@"; do
        case $package in
            docker.io) units="docker.service docker.socket" ;;
            containerd | haproxy | nginx) units=$package.service ;;
            *) continue ;;
        esac
        # shellcheck disable=SC2086
        systemctl --quiet disable $units >/dev/null 2>&1 || say "could not disable $units"
    done
}

packages=$(missing_packages)
# shellcheck disable=SC2086
[ -z "$packages" ] || install_packages $packages

# -- Python ----------------------------------------------------------------------------------------------------------

quietly() {
    log=$(mktemp)
    "$@" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "failed: $* (its output: $log)"
    }
    rm -f "$log"
}

stamp() { cat "$@" | sha256sum | cut -d ' ' -f 1; }

if [ ! -x .venv/bin/python ]; then
    say "making .venv"
    quietly $PYTHON -m venv .venv
fi

wanted=$(stamp requirements.lock)
if [ "$(cat .venv/requirements.stamp 2>/dev/null)" != "$wanted" ]; then
    say "installing Python packages"
    quietly .venv/bin/python -m pip install --disable-pip-version-check -q -r requirements.lock
    echo "$wanted" >.venv/requirements.stamp
fi

wanted=$(stamp pyproject.toml setup.py l7/_*.pyx l7/_*.pxi l7/_*.h)
if [ "$(cat .venv/build.stamp 2>/dev/null)" != "$wanted" ] || ! ls l7/_fastpath.*.so >/dev/null 2>&1; then
    say "compiling the fast path"
    quietly .venv/bin/python -m pip install --disable-pip-version-check -q --no-build-isolation --no-deps -e .
    echo "$wanted" >.venv/build.stamp
fi

# -- HAProxy ---------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2086
.venv/bin/python -m testbed.haproxy_versions $SERIES >/dev/null
