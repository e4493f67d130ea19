#!/usr/bin/env bash
# Checks what building and testing need besides Rust, and installs it where that is possible without
# asking: as root on Debian or Ubuntu. Everywhere else it says what to run, and exits 1.
set -euo pipefail

packages=()
missing=()

need() { # PACKAGES DESCRIPTION COMMAND...
    local wanted=$1 description=$2
    shift 2
    "$@" >/dev/null 2>&1 && return
    missing+=("$description")
    read -ra more <<<"$wanted"
    packages+=("${more[@]}")
}

compiles() { # COMPILER LANGUAGE HEADER
    printf '#include <%s>\nint main() { return 0; }\n' "$3" | "$1" -x "$2" - -o /dev/null
}

has_openssl() {
    pkg-config --exists 'openssl >= 1.1.1'
}

has_roots() {
    local bundle
    for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
        /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
        [ -s "$bundle" ] && return
    done
    return 1
}

# Rust is nobody's package here: it is named with the rest, and never installed.
finish() { # CODE
    command -v cargo >/dev/null && exit "$1"
    echo "prerequisites: cargo is missing; install Rust (https://rustup.rs, stable), then try again" >&2
    exit 1
}

check() {
    packages=() missing=()
    need "gcc libc6-dev" "a C compiler (cc)" compiles cc c stdio.h
    need "g++" "a C++ compiler (c++)" compiles c++ c++ string
    need "make" "make" make --version
    need "pkg-config" "pkg-config" pkg-config --version
    need "libssl-dev pkg-config" "OpenSSL's headers" has_openssl
    need "openssl" "the openssl command" openssl version
    need "python3 python3-pip" "python3 with pip" python3 -m pip --version
    need "util-linux" "setpriv" setpriv --version
    need "ca-certificates" "root certificates" has_roots
}

check
[ ${#missing[@]} -eq 0 ] && finish 0

mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
install="apt-get install -y --no-install-recommends ${packages[*]}"
printf 'prerequisites: missing: %s\n' "${missing[@]}" >&2

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    if command -v apt-get >/dev/null; then
        printf 'prerequisites: install them with\n    sudo apt-get update && sudo %s\n' "$install" >&2
    else
        printf 'prerequisites: install them with the package manager of this system; on Debian it is\n    %s\n' "$install" >&2
    fi
    finish 1
fi

echo "prerequisites: apt-get update && $install" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && $install; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "prerequisites: apt-get failed" >&2
    exit 1
fi
check
if [ ${#missing[@]} -ne 0 ]; then
    printf 'prerequisites: still missing: %s\n' "${missing[@]}" >&2
    exit 1
fi
finish 0
