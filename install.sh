#!/bin/sh
# Builds mctl and installs it with its manual pages and completions.
#
#   sh install.sh [--prefix DIR] [--destdir DIR] [--static] [--debug]
#
# --static: one file that needs no libc of the host's age. Uninstall: remove what it printed.
set -eu

prefix=/usr/local destdir=${DESTDIR:-} static= profile=release
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --destdir)
        [ $# -ge 2 ] || { echo "install.sh: $1 needs a value" >&2; exit 2; }
        case $1 in
        --prefix) prefix=$2 ;;
        --destdir) destdir=$2 ;;
        esac
        shift 2
        ;;
    --static) static=1; shift ;;
    --debug) profile=dev; shift ;;
    *) echo "install.sh: unknown option $1" >&2; exit 2 ;;
    esac
done

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cargo=${CARGO:-cargo}
set -- build --quiet --locked -p mctl-cli --profile "$profile" --message-format=json-render-diagnostics
if [ -n "$static" ]; then
    # A target of its own: procedural macros cannot be loaded by a compiler's static libc.
    host=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
    set -- "$@" --target "$host" --config "target.$host.rustflags=['-C','target-feature=+crt-static']"
fi
messages=$(cd "$here" && $cargo "$@")
mctl=$(printf '%s\n' "$messages" | sed -n 's/.*"executable":"\([^"]*\/mctl\)".*/\1/p' | tail -n 1)
[ -n "$mctl" ] || { echo "install.sh: cargo did not say where mctl is" >&2; exit 1; }

share=$destdir$prefix/share
put() {
    install -D -m "$1" "$2" "$3"
    printf '%s\n' "$3"
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
put 755 "$mctl" "$destdir$prefix/bin/mctl"
"$mctl" man --out "$work/man"
for page in "$work/man"/*.[17]; do
    put 644 "$page" "$share/man/man${page##*.}/${page##*/}"
done
while read -r shell file; do
    "$mctl" completions "$shell" >"$work/completion"
    put 644 "$work/completion" "$share/$file"
done <<END
bash bash-completion/completions/mctl
zsh zsh/site-functions/_mctl
fish fish/vendor_completions.d/mctl.fish
END
