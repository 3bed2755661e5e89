#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# On a kernel that has mctl(): a program that knows nothing of huge pages, before and after
# `mctl set hugepage --inherit`, what its child and its next image get, and back again.
#
#     cargo build -p mctl-cli
#     cargo xtask guest run --kernel native-6.12 -- sh tries/native-seen.sh
set -eu
mctl=${MCTL:-$(dirname "$0")/../target/debug/mctl}
knob=/sys/kernel/mm/transparent_hugepage/enabled
echo "$(uname -r), mctl() is number $(cat /sys/kernel/mm/mctl/nr), $knob: $(cat $knob)"
dir=$(mktemp -d)
trap 'kill $pid 2>/dev/null || true; rm -rf "$dir"' EXIT
mkfifo "$dir/in"
cat > "$dir/program.py" <<'P'
import mmap, os, sys
def line():
    # One byte at a time: what is left is for the next image.
    out = b""
    while (c := os.read(0, 1)) not in (b"\n", b""):
        out += c
    return out.decode()
def fill(what):
    size = 64 << 20
    area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, size, 4096):
        area[at] = 1
    huge = eligible = 0
    inside = False
    for text in open("/proc/self/smaps"):
        words = text.split()
        if "-" in words[0] and not words[0].endswith(":"):
            low, high = (int(x, 16) for x in words[0].split("-"))
            inside = high - low >= size and len(words) == 5
        elif inside and words[0] == "AnonHugePages:":
            huge = max(huge, int(words[1]))
        elif inside and words[0] == "THPeligible:":
            eligible = max(eligible, int(words[1]))
    word = [t.split()[1] for t in open("/proc/self/status") if t.startswith("Mctl:")][0]
    print(f"{what}: 64 MiB filled; smaps: AnonHugePages {huge} kB, THPeligible {eligible}; status: Mctl {word}", flush=True)
    area.close()
while True:
    command = line()
    if command == "fill":
        fill("the program")
    elif command == "fork":
        if (child := os.fork()) == 0:
            fill("its child")
            os._exit(0)
        os.waitpid(child, 0)
    elif command == "exec":
        os.execv(sys.executable, [sys.executable, sys.argv[0], "anew"])
    else:
        break
    if os.path.exists(sys.argv[0] + ".done"):
        os.remove(sys.argv[0] + ".done")
    open(sys.argv[0] + ".done", "w").close()
P
python3 "$dir/program.py" < "$dir/in" &
pid=$!
exec 3> "$dir/in"
ask() {
    rm -f "$dir/program.py.done"
    echo "$1" >&3
    [ "$1" = exec ] && { sleep 3; return; }
    n=0
    while [ ! -e "$dir/program.py.done" ] && [ $n -lt 300 ]; do sleep 0.2; n=$((n + 1)); done
}
show() { echo "\$ mctl $*"; "$mctl" "$@"; }
ask fill
show get -o PID,COMMAND,POLICY,EXEC "$pid"
show set hugepage --inherit -v "$pid"
show get -o PID,COMMAND,POLICY,EXEC "$pid"
ask fill
ask fork
echo "(it executes a program)"
ask exec
ask fill
show get -o PID,COMMAND,POLICY,EXEC "$pid"
show clear hugepage -v "$pid"
ask fill
exec 3>&-
wait "$pid" || true
