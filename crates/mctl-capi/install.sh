#!/bin/sh
# Builds and installs libmctl with plain cargo; `cargo cinstall` (cargo-c) does the same.
#
#   sh install.sh [--prefix DIR] [--libdir DIR] [--includedir DIR] [--destdir DIR] [--debug]
set -eu

prefix=/usr/local libdir= includedir= destdir=${DESTDIR:-} profile=release
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --libdir | --includedir | --destdir)
        [ $# -ge 2 ] || { echo "install.sh: $1 needs a value" >&2; exit 2; }
        case $1 in
        --prefix) prefix=$2 ;;
        --libdir) libdir=$2 ;;
        --includedir) includedir=$2 ;;
        --destdir) destdir=$2 ;;
        esac
        shift 2
        ;;
    --debug) profile=dev; shift ;;
    *) echo "install.sh: unknown option $1" >&2; exit 2 ;;
    esac
done
libdir=${libdir:-$prefix/lib} includedir=${includedir:-$prefix/include}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cargo=${CARGO:-cargo}
version=$(cd "$here" && $cargo pkgid | sed 's/.*[#@]//')
# What the static library needs, in rustc's own words, and where cargo put the two.
messages=$(cd "$here" && $cargo rustc --quiet --lib --profile "$profile" \
    --message-format=json-render-diagnostics -- --print=native-static-libs 2>&1) || {
    printf '%s\n' "$messages" >&2
    exit 1
}
private=$(printf '%s\n' "$messages" | sed -n 's/.*native-static-libs: *//p' | tail -n 1)
private=${private:-"-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc"}
# The unwinder as a static library: there is no libgcc_s.a for a program that is linked with -static.
private=$(printf '%s\n' "$private" | sed 's/-lgcc_s/-lgcc_eh/')
built() { printf '%s\n' "$messages" | grep -o "\"[^\"]*/$1\"" | tail -n 1 | tr -d '"'; }
so=$(built 'libmctl\.so') a=$(built 'libmctl\.a')

mkdir -p "$destdir$libdir/pkgconfig" "$destdir$includedir"
install -m 755 "$so" "$destdir$libdir/libmctl.so.$version"
ln -sf "libmctl.so.$version" "$destdir$libdir/libmctl.so.${version%%.*}"
ln -sf "libmctl.so.${version%%.*}" "$destdir$libdir/libmctl.so"
install -m 644 "$a" "$destdir$libdir/libmctl.a"
install -m 644 "$here/include/mctl.h" "$destdir$includedir/mctl.h"
sed -e "s|@PREFIX@|$prefix|; s|@LIBDIR@|$libdir|; s|@INCLUDEDIR@|$includedir|" \
    -e "s|@VERSION@|$version|; s|@LIBS_PRIVATE@|$private|" \
    "$here/mctl.pc.in" >"$destdir$libdir/pkgconfig/mctl.pc"
