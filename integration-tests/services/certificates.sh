#!/usr/bin/env bash
# Makes a certificate authority, a server certificate for localhost and client certificates in DIR.
# NAME.pem is key, certificate and authority in one, the form that Kafka's PEM key stores take.
#   certificates.sh DIR
set -euo pipefail
cd "$1"

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

authority() { # NAME
    openssl req -x509 "${new_key[@]}" -days 3650 -subj "/CN=$1" -keyout "$1.key" -out "$1.crt"
}

certificate() { # AUTHORITY NAME USAGE ALTERNATIVE_NAMES
    openssl req "${new_key[@]}" -subj "/CN=$2" -keyout "$2.key" -out "$2.csr"
    openssl x509 -req -in "$2.csr" -CA "$1.crt" -CAkey "$1.key" -CAcreateserial -days 3650 -out "$2.crt" \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=%s\n' "$4" "$3")
    cat "$2.key" "$2.crt" "$1.crt" >"$2.pem"
    rm "$2.csr"
}

{
    authority ca
    authority stranger # signs nothing here: the authority of a client that must be refused
    certificate ca server serverAuth,clientAuth DNS:localhost,IP:127.0.0.1
    certificate ca elsewhere serverAuth DNS:elsewhere.invalid
    certificate ca client clientAuth DNS:client
    certificate stranger impostor clientAuth DNS:impostor
} 2>openssl.log || { cat openssl.log >&2; exit 1; }
chmod 600 ./*.key
