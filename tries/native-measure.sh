#!/bin/sh
# What mctl() costs and what it brings on a native kernel: builds native-measure.c and runs its parts in a guest,
# one after the other.
#
#   tries/native-measure.sh [native-6.12|native-7.3]
set -eu

cd "$(dirname "$0")/.."
kernel=${1:-native-6.12}
out=${CARGO_TARGET_DIR:-$PWD/target}/native-measure
mkdir -p "$(dirname "$out")"
gcc -O2 -Wall -Wextra -static -pthread -o "$out" tries/native-measure.c
for part in cost always never "fade /tmp"; do
    echo "== $part"
    # shellcheck disable=SC2086
    cargo xtask guest run --kernel "$kernel" -- "$out" $part
done
