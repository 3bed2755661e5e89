#!/bin/bash
# Tries mctl on programs that nobody here wrote, each under load from its own load generator.
# One line a check; the exit status is 1 if any of them failed.
#
#   tries/real-programs.sh [PROGRAM...]      all programs where none is named
#
#   MCTL=FILE    the mctl to try (default: target/release/mctl)
#   LOOPS=N      how often a policy is set and taken back under load (default 200)
#   KEEP=1       keep the directory with the logs
#
# Needs root, a host whose THP knob says "madvise", and the programs (Debian 12):
#   apt-get install redis-server redis-tools postgresql nginx-light wrk default-jdk-headless nodejs \
#       python3 chromium chromium-sandbox musl-tools golang-go libjemalloc2
# It installs nothing, changes no knob of the host, talks only to loopback addresses, acts only on
# processes that it started, and stops them at the end.

set -u
here=$(cd "$(dirname "$0")" && pwd)
MCTL=${MCTL:-$here/../target/release/mctl}
LOOPS=${LOOPS:-200}
ALL="words static-c static-go python3 node java nginx redis postgres chromium reclaim"
GRAIN=64          # MiB of fresh memory at a time
HUGE=$((GRAIN * 1024 / 2))    # kB in huge pages from which fresh memory counts as huge

# Below the ports that the kernel gives out by itself.
failures=0 checks=0 program=- base=$((12000 + $$ % 150 * 120))
declare -a started=()

ok()   { checks=$((checks + 1)); printf 'ok   %-10s %s\n' "$program" "$*"; }
bad()  { checks=$((checks + 1)); failures=$((failures + 1)); printf 'BAD  %-10s %s\n' "$program" "$*"; }
note() { printf '     %-10s %s\n' "$program" "$*"; }
skip() { printf 'skip %-10s %s\n' "$program" "$*"; }
check() { local what=$1; shift; if "$@" > /dev/null; then ok "$what"; else bad "$what"; fi; }

# ---- reading processes ------------------------------------------------------------------------

field()   { awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status" 2>/dev/null; }
maps_of() { wc -l < "/proc/$1/maps"; }
huge_kb() { local p sum=0 n; for p; do n=$(awk '/^AnonHugePages/ { print $2 }' "/proc/$p/smaps_rollup" 2>/dev/null); sum=$((sum + ${n:-0})); done; echo $sum; }
anon_kb() { local p sum=0 n; for p; do n=$(field "$p" RssAnon); sum=$((sum + ${n:-0})); done; echo $sum; }
flag_of() { grep -c "^VmFlags:.* $2" "/proc/$1/smaps"; }
# File mappings (not shared memory) that carry the hg flag.
files_hg() { awk '/^[0-9a-f]+-[0-9a-f]+ / { file = $5 != 0 && $6 ~ /^\// && $6 !~ /^\/(dev\/zero|dev\/shm|SYSV|memfd:)/ } /^VmFlags:.* hg/ { n += file } END { print n + 0 }' "/proc/$1/smaps"; }
tree_of() { local p; echo "$1"; for p in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree_of "$p"; done; }
alive()   { [ -d "/proc/$1" ] && [ "$(field "$1" State)" != Z ]; }

# ---- starting and stopping --------------------------------------------------------------------

as()    { setpriv --reuid "$1" --regid "$2" --clear-groups -- "${@:3}"; }
# In at most a minute. (timeout(1) needs a timer that a busy host may refuse.)
soon()  { perl -e 'alarm 60; exec @ARGV or exit 127' -- "$@"; }
begin() { program=$1; base=$((base + 10)); port=$base; dir=$temp/$1; stopfile=$dir/stop; mkdir -p "$dir"; chmod 755 "$dir"; started=(); asks=1; many=; }
# Starts in the background: launch LOG COMMAND... ; the PID is in $pid.
launch() {
    local log=$1; shift
    # setpriv(1) executes in place: the PID is that of the program.
    [ "$1" = as ] && set -- setpriv --reuid "$2" --regid "$3" --clear-groups -- "${@:4}"
    "$@" > "$dir/$log" 2>&1 &
    pid=$!; started+=("$pid")
}
await() { local i; for i in $(seq 150); do "$@" > /dev/null 2>&1 && return 0; sleep 0.1; done; bad "did not start: $*"; tail -5 "$dir"/*.log 2>/dev/null; return 1; }
finish() {
    local p q all=""
    for p in "${started[@]}"; do alive "$p" && all="$all $(tree_of "$p")"; done
    for p in "${started[@]}"; do kill -TERM "$p" 2>/dev/null; done
    for q in $(seq 50); do
        local left=0
        for p in $all; do alive "$p" && left=1; done
        [ $left = 0 ] && break
        sleep 0.1
    done
    for p in $all; do alive "$p" && kill -KILL "$p" 2>/dev/null; done
    for p in "${started[@]}"; do wait "$p" 2>/dev/null; done
    started=()
}
leave() {
    finish
    [ -n "${swap:-}" ] && swapoff "$swap" 2>/dev/null
    if [ -n "${KEEP:-}" ]; then echo "logs: $temp"; else rm -rf "$temp"; fi
}

# ---- calling mctl -----------------------------------------------------------------------------

mctl()  { soon "$temp/mctl" "$@"; }
# It succeeds, and says nothing else than notes.
does()  { local what=$1 out; shift; if out=$(mctl "$@" 2>&1) && ! grep -v '^mctl: note:' <<< "$out" | grep -q .; then ok "$what"; else bad "$what: mctl $*: $out"; fi; }
# It fails with the exit status and the word: refuses STATUS WORD [user] COMMAND...
refuses() {
    local status=$1 word=$2 out got; shift 2
    out=$(soon "$@" 2>&1); got=$?
    if [ $got = "$status" ] && grep -q -- "$word" <<< "$out"; then
        ok "refused ($word): ${*/#$temp\//}"
    else
        bad "${*/#$temp\//}: status $got instead of $status, or no word '$word': $out"
    fi
}
policy_is() {
    local got; got=$(mctl get --noheadings -o policy,exec "$1" 2>&1 | tr -s ' ')
    if [ "${got% }" = "$2" ]; then ok "mctl get says: $2"; else bad "mctl get says '$got', not '$2'"; fi
}
enabled_is() { if [ "$(field "$1" THP_enabled)" = "$2" ]; then ok "the kernel says THP_enabled $2"; else bad "THP_enabled is $(field "$1" THP_enabled), not $2"; fi; }

# ---- fresh memory -----------------------------------------------------------------------------

# fresh KIND huge|small WHAT PID: the program takes $GRAIN MiB more, and $FRESH makes it do so.
fresh() {
    local kind=$1 wanted=$2 what=$3 p=$4 huge anon
    huge=$(huge_kb "$p") anon=$(anon_kb "$p")
    $FRESH "$kind" "$GRAIN" || { bad "$what: the program did not take memory"; return; }
    anon=$(($(anon_kb "$p") - anon)) huge=$(($(huge_kb "$p") - huge))
    local text="$what: $((anon / 1024)) MiB more, $((huge / 1024)) MiB of it in huge pages"
    if [ $anon -lt $((GRAIN * 1024 / 2)) ] && [ "$kind" != heap ]; then bad "$text (the memory did not come)"
    elif [ "$wanted" = huge ] && [ $huge -lt $HUGE ]; then bad "$text"
    elif [ "$wanted" = small ] && [ $huge -gt 2048 ]; then bad "$text"
    else ok "$text"; fi
}
http() { curl -sf --noproxy '*' --max-time 60 "http://127.0.0.1:$port/$1"; }
http_fresh() { [ "$(http "$1/$2")" = ok ]; }

# ---- the same for every program ---------------------------------------------------------------

healthy() {
    local root=$1 p bad_states="" count=0
    for p in $(tree_of "$root"); do
        local t
        for t in /proc/"$p"/task/*; do
            local s tracer
            s=$(awk '/^State:/ { print $2 }' "$t/status" 2>/dev/null) || continue
            tracer=$(awk '/^TracerPid:/ { print $2 }' "$t/status" 2>/dev/null)
            [ -z "$s" ] && continue
            count=$((count + 1))
            case $s in T | t) bad_states="$bad_states ${t#/proc/}:$s" ;; esac
            [ "${tracer:-0}" = 0 ] || bad_states="$bad_states ${t#/proc/}:traced-by-$tracer"
        done
    done
    if alive "$root" && [ -z "$bad_states" ]; then ok "alive; none of $count threads stopped or traced"; else bad "dead, stopped or traced: $bad_states"; fi
}

# The four policies on one process. $FRESH tells how to make it take memory; $asks is 1 where the
# program asks for huge pages itself, so that it has them before anything is done.
policies() {
    local p=$1 tree=${2:-} inherit
    enabled_is "$p" 1
    [ $asks = 1 ] && fresh asked huge "control, fresh memory it asks huge pages for" "$p"
    does "set nohugepage --inherit $tree" set nohugepage --inherit $tree "$p"
    enabled_is "$p" 0
    policy_is "$p" "nohugepage yes"
    [ $asks = 1 ] && fresh asked small "under nohugepage, fresh memory it asks huge pages for" "$p"
    does "clear nohugepage $tree" clear nohugepage $tree "$p"
    enabled_is "$p" 1
    policy_is "$p" "inherit -"
    [ $asks = 1 ] && fresh asked huge "cleared, fresh memory it asks huge pages for" "$p"
    does "set hugepage-advised --inherit $tree" set hugepage-advised --inherit $tree "$p"
    policy_is "$p" "hugepage-advised yes"
    [ $asks = 1 ] && fresh asked huge "under hugepage-advised, fresh memory it asks huge pages for" "$p"
    does "clear hugepage-advised $tree" clear hugepage-advised $tree "$p"
    does "set mergeable --inherit $tree" set mergeable --inherit $tree "$p"
    policy_is "$p" "mergeable yes"
    check "the kernel says ksm_merge_any: yes" grep -q "ksm_merge_any: yes" "/proc/$p/ksm_stat"
    does "clear mergeable $tree" clear mergeable $tree "$p"
    check "the kernel says ksm_merge_any: no" grep -q "ksm_merge_any: no" "/proc/$p/ksm_stat"
    policy_is "$p" "inherit -"
}

# "hugepage" on a host that says madvise: the mappings of now are advised. $OLD is the kind of
# fresh memory that lies in a mapping which is there already.
always() {
    local p=$1 tree=${2:-} before after files nh
    before=$(flag_of "$p" hg) nh=$(flag_of "$p" nh) files=$(files_hg "$p")
    $FRESH "$OLD" $GRAIN
    fresh "$OLD" small "control, first touch of old mappings" "$p"
    does "set hugepage $tree" set hugepage $tree "$p"
    after=$(flag_of "$p" hg)
    if [ "$after" -gt "$before" ]; then ok "smaps: $before mappings with hg before, $after after"; else bad "smaps: $before mappings with hg before, $after after"; fi
    check "no file mapping was advised ($files before)" test "$(files_hg "$p")" = "$files"
    note "mappings with nh: $nh before, $(flag_of "$p" nh) after"
    fresh "$OLD" huge "under hugepage, first touch of old mappings" "$p"
    does "set nohugepage over it" set nohugepage $tree "$p"
    fresh "$OLD" small "under nohugepage, first touch of advised mappings" "$p"
    does "clear nohugepage" clear nohugepage $tree "$p"
    fresh "$OLD" huge "cleared, first touch of advised mappings" "$p"
    note "mctl get: $(mctl get --noheadings -o policy,rss,anon,huge,coverage,why "$p" | tr -s ' ')"
}

# Set and take back again and again. Leaves what it saw in $wrong and $seen.
rounds() {
    local p=$1 tree=$2 times=$3 i out
    wrong=0 seen=0
    for i in $(seq "$times"); do
        out=$(mctl set --quiet nohugepage --inherit $tree "$p" 2>&1) || { wrong=$((wrong + 1)); note "$out"; }
        [ "$(field "$p" THP_enabled)" = 0 ] && [ "$(field "$p" TracerPid)" = 0 ] && seen=$((seen + 1))
        case $((i % 4)) in
            1) out=$(mctl set --quiet hugepage-advised --inherit $tree "$p" 2>&1) || { wrong=$((wrong + 1)); note "$out"; } ;;
            2) [ -n "$many" ] || out=$(mctl get "$p" 2>&1) || { wrong=$((wrong + 1)); note "$out"; } ;;
        esac
        out=$(mctl clear --quiet nohugepage,hugepage-advised $tree "$p" 2>&1) || { wrong=$((wrong + 1)); note "$out"; }
        [ $wrong -gt 5 ] && break
    done
}

# The same work for mctl and the host, on a process beside: what of the delay is not ours?
control() {
    launch beside.log sleep 600
    rounds "$pid" "" "$LOOPS"
    kill "$pid"
}

loop() {
    local p=$1 tree=${2:-} times=${3:-$LOOPS} before after wrong seen
    before=$(maps_of "$p")
    rounds "$p" "$tree" "$times"
    after=$(maps_of "$p")
    if [ $wrong = 0 ] && [ $seen = "$times" ]; then ok "$times rounds of set and clear under load"; else bad "rounds under load: $wrong of $times failed, in force and untraced after $seen"; fi
    if [ $((after - before)) -lt $((times / 4 + 8)) ]; then ok "mappings: $before before the rounds, $after after"; else bad "mappings: $before before the rounds, $after after"; fi
    enabled_is "$p" 1
}

# Taking mergeable back makes the kernel walk all memory of the process, in one of its threads.
merging() {
    local i wrong=0 took
    for i in $(seq $((LOOPS / 10))); do
        mctl set --quiet mergeable "$1" || wrong=$((wrong + 1))
        took=$(mctl clear -v mergeable "$1" 2>> "$dir/notes.log") || wrong=$((wrong + 1))
    done
    check "$((LOOPS / 10)) rounds of mergeable under load; the last clear ${took##*; } at $(($(field "$1" VmRSS) / 1024)) MiB" test $wrong = 0
}

# What the program's own timers saw: none early, none wrong.
timers() {
    local text
    text=$(http stats) || { bad "no answer from /stats"; return; }
    if python3 -c 'import json,sys; s=json.loads(sys.argv[1]); sys.exit(s["early"] or s["wrong"] or not s["timers"] or s["late_us"] > int(sys.argv[2]))' "$text" "${2:-1000000}"; then
        ok "$1: $text"
    else
        bad "$1: $text"
    fi
}

http_load() {
    launch wrk.log wrk -t1 -c4 -d900s --timeout 30s "http://127.0.0.1:$port/echo/abc"; wrk=$pid
    launch check.log python3 "$programs/check_http.py" "$port" 4 900; checker=$pid
    sleep 1
}
http_load_end() {
    kill -INT "$wrk"; wait "$wrk"
    if grep -q "requests in" "$dir/wrk.log" && ! grep -Eq "Socket errors|Non-2xx" "$dir/wrk.log"; then
        ok "wrk: $(grep 'requests in' "$dir/wrk.log" | xargs); no socket error, no bad status"
    else
        bad "wrk: $(xargs < "$dir/wrk.log")"
    fi
    kill -TERM "$checker"
    if wait "$checker"; then ok "answers compared: $(cat "$dir/check.log")"; else bad "answers compared: $(cat "$dir/check.log")"; fi
}

# A server with the paths of programs/server.py, from start to end: http_program PID
http_program() {
    local p=$1
    FRESH=http_fresh OLD=old
    await http echo/x || return
    http_load
    http stats > /dev/null; sleep 2; timers "timers, nothing done yet"
    policies "$p"
    always "$p"
    http stats > /dev/null
    control
    timers "timers, same rounds on a process beside it" 10000000
    loop "$p"
    timers "timers, rounds on it"
    merging "$p"
    timers "timers, during set and clear of mergeable"
    healthy "$p"
    http_load_end
}

# ---- the programs -----------------------------------------------------------------------------

try_static_c() {
    musl-gcc -O2 -static -o "$dir/server" "$programs/server.c" || { bad "does not compile"; return; }
    launch server.log as 61001 61001 "$dir/server" "$port"
    http_program "$pid"
    # Started under a policy; the static binary cannot know.
    port=$((port + 1))
    launch run.log as 61001 61001 "$temp/mctl" run --thp never --merge --inherit -- "$dir/server" "$port"
    await http echo/x || return
    FRESH=http_fresh
    enabled_is "$pid" 0
    policy_is "$pid" "nohugepage,mergeable yes"
    fresh asked small "under mctl run --thp never, fresh memory it asks huge pages for" "$pid"
}

try_static_go() {
    cp "$programs/server.go" "$dir/"
    (cd "$dir" && CGO_ENABLED=0 GO111MODULE=off GOCACHE="$dir/cache" go build -o server server.go) || { bad "does not compile"; return; }
    launch server.log as 61001 61001 "$dir/server" "$port"
    http_program "$pid"
}

try_python3() {
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 launch server.log as 61001 61001 python3 "$programs/server.py" "$port"
    http_program "$pid"
}

try_node() {
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 launch server.log as 61001 61001 node "$programs/server.js" "$port"
    http_program "$pid"
}

try_java() {
    javac -d "$dir" "$programs/Server.java" || { bad "does not compile"; return; }
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 launch server.log as 61001 61001 \
        java -XX:+UseParallelGC -Dsun.net.httpserver.nodelay=true -Xms1200m -Xmx1200m -Xmn96m -XX:MaxDirectMemorySize=1g -XX:-UsePerfData -cp "$dir" Server "$port"
    http_program "$pid"
    check "the JVM reported nothing" test ! -s "$dir/server.log"
}

try_nginx() {
    local root=$dir/root p new old workers
    mkdir -p "$root" && chown 61001:61001 "$root"
    cat > "$dir/nginx.conf" <<END
worker_processes 3; pid $root/pid; error_log $root/error.log warn;
events { worker_connections 512; }
http {
    access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;
    client_body_temp_path $root/b; proxy_temp_path $root/p; fastcgi_temp_path $root/f; uwsgi_temp_path $root/u; scgi_temp_path $root/s;
    server { listen 127.0.0.1:$port; location ~ ^/echo/(.*)$ { return 200 \$1\$1\$1; } }
}
END
    # By its full path: that is what it executes when it is upgraded.
    launch nginx.log as 61001 61001 "$(command -v nginx)" -p "$root" -c "$dir/nginx.conf"
    await http echo/x || return
    p=$(cat "$root/pid"); started+=("$p")
    sleep 0.5
    http_load
    asks=0
    policies "$p" --tree
    does "set nohugepage --tree --inherit" set nohugepage --tree --inherit "$p"
    for new in $(tree_of "$p"); do enabled_is "$new" 0; done
    does "clear --tree" clear nohugepage --tree "$p"
    for new in $(tree_of "$p"); do enabled_is "$new" 1; done
    mctl get --json --tree "$p" > "$dir/saved.json"
    does "set hugepage --tree" set hugepage --tree "$p"
    for new in $(tree_of "$p"); do check "smaps: $(flag_of "$new" hg) mappings with hg, $(files_hg "$new") of files" test "$(flag_of "$new" hg)" -gt 0 -a "$(files_hg "$new")" = 0; done
    does "set nohugepage,mergeable --tree" set nohugepage,mergeable --tree "$p"
    does "restore the saved state of the tree" restore "$dir/saved.json"
    for new in $(tree_of "$p"); do policy_is "$new" "inherit -"; done
    many=1; loop "$p" --tree; many=
    healthy "$p"
    http_load_end
    # New workers are forked from the master; a new binary is executed by it.
    does "set nohugepage --inherit on the master alone" set nohugepage --inherit "$p"
    old=" $(tree_of "$p" | tail -n +2 | xargs) "
    kill -HUP "$p"; sleep 1.5
    workers=$(tree_of "$p" | tail -n +2 | xargs)
    local fresh_ones=0
    for new in $workers; do [[ $old == *" $new "* ]] || { fresh_ones=$((fresh_ones + 1)); enabled_is "$new" 0; }; done
    check "reload: workers were$old, are $workers: $fresh_ones new ones, checked" test $fresh_ones = 3
    kill -USR2 "$p"; sleep 1.5
    new=$(cat "$root/pid" 2>/dev/null)
    if [ -n "$new" ] && [ "$new" != "$p" ]; then started+=("$new"); note "binary upgrade: new master $new"; enabled_is "$new" 0; check "it answers" test "$(http echo/x)" = xxx; kill -QUIT "$new"; sleep 0.5; else bad "no new master after USR2"; fi
    check "nginx logged no error" test -z "$(grep -E '\[(error|crit|alert|emerg)\]' "$root/error.log")"
}

redis_fresh() { redis_fill=$((redis_fill + 1)); [ "$(redis-cli -p "$port" debug populate $(($2 * 1000)) "fill$redis_fill" 1000)" = OK ]; }
redis_load() { while [ ! -e "$stopfile" ]; do soon redis-benchmark -p "$port" -t set,get,lpush,lpop -n 20000 -r 10000 -c 16 -q || echo FAILED; done; }
redis_start() {
    redis_fill=0
    launch "redis.log" env MALLOC_CONF="$1" setpriv --reuid 61001 --regid 61001 --clear-groups -- redis-server --port "$port" --bind 127.0.0.1 --save '' \
        --appendonly no --dir "$dir" --disable-thp no --enable-debug-command local; redis=$pid
    await redis-cli -p "$port" ping
}
try_redis() {
    chown 61001:61001 "$dir"
    redis_start thp:always || return
    FRESH=redis_fresh OLD=heap
    check "20000 known keys written" python3 "$programs/check_redis.py" "$port" fill 20000 500
    launch benchmark.log redis_load; local bench=$pid
    launch check.log python3 "$programs/check_redis.py" "$port" 4 900; local checker=$pid
    sleep 1
    policies "$redis"
    loop "$redis"
    # A child that redis forks to save has the policy too, and the save is sound.
    does "set nohugepage --inherit" set nohugepage --inherit "$redis"
    redis-cli -p "$port" bgsave > /dev/null
    await sh -c "redis-cli -p $port info persistence | grep -q rdb_bgsave_in_progress:0"
    check "saved by a forked child" grep -q ok <(redis-cli -p "$port" info persistence | grep rdb_last_bgsave_status)
    check "the saved file is sound" redis-check-rdb "$dir/dump.rdb"
    does "clear" clear nohugepage "$redis"
    healthy "$redis"
    touch "$stopfile"; wait "$bench"
    check "redis-benchmark: $(grep -o 'requests per second' <(tr '\r' '\n' < "$dir/benchmark.log") | wc -l) figures, no failure" test -s "$dir/benchmark.log" -a -z "$(grep -iE 'FAILED|error|reset|closed' "$dir/benchmark.log")"
    kill -TERM "$checker"
    if wait "$checker"; then ok "answers compared: $(cat "$dir/check.log")"; else bad "answers compared: $(cat "$dir/check.log")"; fi
    check "20000 known keys read back" python3 "$programs/check_redis.py" "$port" read 20000 500
    finish
    # Without asking of its own: advised by mctl. jemalloc maps ahead, more and more at a time:
    # fill it until there is enough that was mapped and never touched.
    rm -f "$stopfile" "$dir/dump.rdb"; port=$((port + 1))
    redis_start thp:default || return
    local i ahead GRAIN=16; HUGE=$((GRAIN * 1024 / 2))
    for i in $(seq 60); do
        ahead=$(awk '/^[0-9a-f]+-[0-9a-f]+ / { anon = $5 == 0 && NF == 5 && $2 ~ /^rw-p/ } anon && /^Size:/ { size = $2 } anon && /^Rss:/ && size - $2 > most { most = size - $2 } END { print int(most / 1024) }' "/proc/$redis/smaps")
        [ "$ahead" -gt 120 ] && break
        redis_fresh heap 20 || { bad "redis takes no memory"; return; }
    done
    note "$ahead MiB mapped ahead in one mapping"
    launch benchmark2.log redis_load; bench=$pid
    always "$redis"
    healthy "$redis"
    touch "$stopfile"; wait "$bench"
    HUGE=$((64 * 1024 / 2))
    check "redis-benchmark: no failure" test -s "$dir/benchmark2.log" -a -z "$(grep -iE 'FAILED|error|reset|closed' "$dir/benchmark2.log")"
}

psql_here() { psql -h "$dir/data" -p "$port" -U postgres -XAtq "$@" postgres; }
pg_load() { while [ ! -e "$stopfile" ]; do pgbench -h "$dir/data" -p "$port" -U postgres -n -T 4 "$@" postgres || echo FAILED; done; }
# A sort that is held open by a cursor keeps its memory.
pg_fresh() {
    pg_cursor=$((${pg_cursor:-0} + 1))
    printf "DECLARE c%d CURSOR WITH HOLD FOR SELECT 1; DECLARE s%d CURSOR FOR SELECT g, repeat('x', 40) FROM generate_series(1, %d) g ORDER BY md5(g::text); FETCH 1 FROM s%d;\n\\\\echo done%d\n" \
        "$pg_cursor" "$pg_cursor" $(($2 * 7500)) "$pg_cursor" "$pg_cursor" >&"${session[1]}"
    local line
    while read -r -t 60 line <&"${session[0]}"; do [ "$line" = "done$pg_cursor" ] && return 0; done
    return 1
}
try_postgres() {
    local bin p backend plain churn sums
    bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
    mkdir -p "$dir/data" && chown postgres: "$dir/data" && chmod 700 "$dir/data"
    as postgres postgres "$bin/initdb" -D "$dir/data" -A trust > "$dir/initdb.log" 2>&1 || { bad "initdb"; return; }
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 launch postgres.log as postgres postgres "$bin/postgres" -D "$dir/data" -p "$port" -h '' -k "$dir/data" \
        -c shared_buffers=128MB -c huge_pages=off -c fsync=off; p=$pid
    await psql_here -c 'select 1' || return
    pgbench -h "$dir/data" -p "$port" -U postgres -i -q -s 5 postgres > "$dir/init.log" 2>&1
    launch pgbench.log pg_load -c 6 -j 2; plain=$pid
    launch pgbench-c.log pg_load -c 2 -C; churn=$pid
    coproc session { psql_here 2>&1; }
    echo "SET work_mem = '1GB'; BEGIN; SELECT 'pid', pg_backend_pid();" >&"${session[1]}"
    local line
    while read -r -t 20 line <&"${session[0]}"; do case $line in pid\|*) backend=${line#pid|}; break ;; esac; done
    sleep 1
    FRESH=pg_fresh
    note "one session is backend $backend"
    policies "$backend"
    # The whole tree, while pgbench -C makes backends come and go.
    local n
    for n in 1 2 3; do
        does "set nohugepage --tree --inherit, $(tree_of "$p" | wc -l) processes" set nohugepage --tree --inherit "$p"
        sleep 0.3
        local small=0 all=0 q e
        for q in $(tree_of "$p"); do e=$(field "$q" THP_enabled); [ -n "$e" ] && all=$((all + 1)) && [ "$e" = 0 ] && small=$((small + 1)); done
        if [ $small = $all ]; then ok "all $all processes, new ones too, have THP_enabled 0"; else bad "only $small of $all processes have THP_enabled 0"; fi
        fresh asked small "in the session, under the tree's policy" "$backend"
        does "clear nohugepage --tree" clear nohugepage --tree "$p"
    done
    many=1; loop "$p" --tree $((LOOPS / 4)); many=
    does "set hugepage --tree" set hugepage --tree "$p"
    check "smaps of the session: $(flag_of "$backend" hg) mappings with hg, $(files_hg "$backend") of files" test "$(flag_of "$backend" hg)" -gt 0 -a "$(files_hg "$backend")" = 0
    loop "$backend"
    healthy "$p"
    touch "$stopfile"; wait "$plain"; wait "$churn"
    local log
    for log in pgbench pgbench-c; do
        if ! grep -qE 'FAILED|FATAL|ERROR|error|failed transactions: [1-9]' "$dir/$log.log" && grep -q 'failed transactions: 0' "$dir/$log.log"; then
            ok "$log: $(awk '/actually processed/ { n += $NF } END { print n }' "$dir/$log.log") transactions, 0 failed"
        else
            bad "$log: $(grep -E 'FAILED|FATAL|ERROR|error|failed' "$dir/$log.log" | sort | uniq -c | head -5 | xargs)"
        fi
    done
    sums=$(psql_here -c 'select count(distinct s) from (select sum(abalance) s from pgbench_accounts union all select sum(bbalance) from pgbench_branches union all select sum(tbalance) from pgbench_tellers union all select coalesce(sum(delta), 0) from pgbench_history) x')
    check "the books balance (accounts, branches, tellers, history)" test "$sums" = 1
    check "the session lives" pg_fresh asked 1
    echo '\q' >&"${session[1]}"
    check "postgres logged no error" test -z "$(grep -E 'PANIC|FATAL|ERROR|terminated by signal' "$dir/postgres.log" | grep -v 'starting up')"
    kill -INT "$p"
}

page() { curl -sf --noproxy '*' --max-time 20 "http://127.0.0.1:$port/$1"; }
page_fresh() {
    local want; want=$(page "grow/$2") || return 1
    local i; for i in $(seq 200); do
        page all | python3 -c 'import json,sys; r=json.load(sys.stdin); sys.exit(not r or any(x["mb"] < int(sys.argv[1]) for x in r.values()))' "$want" && return 0
        sleep 0.1
    done
    return 1
}
page_saw() {
    local text
    text=$(page all | python3 -c '
import json, sys
r = json.load(sys.stdin)
s = {k: sum(x[k] for x in r.values()) for k in ("timers", "early", "fetches", "wrong", "lost", "blocks")}
s["latest_ms"] = max(x["worst_late_us"] for x in r.values()) // 1000
print(json.dumps(s | {"frames": len(r)}))
sys.exit(bool(s["early"] or s["wrong"] or s["lost"] or not s["fetches"] or len(r) != int(sys.argv[1])))' "$1")
    if [ $? = 0 ]; then ok "$2: $text"; else bad "$2: $text"; fi
}
try_chromium() {
    local frames=3 p q renderers="" renderer seen
    launch page.log python3 "$programs/page.py" "$port" $frames
    await page echo/x || return
    mkdir -p "$dir/home" && chown nobody:nogroup "$dir/home"
    launch chromium.log as nobody nogroup env -i PATH=/usr/bin:/bin HOME="$dir/home" TMPDIR="$dir/home" XDG_RUNTIME_DIR="$dir/home" chromium --headless=new --disable-gpu --no-first-run --no-proxy-server --no-pings \
        --disable-background-networking --disable-component-update --disable-sync --disable-quic --disable-extensions --disable-default-apps \
        --disable-domain-reliability --disable-breakpad --metrics-recording-only --disable-features=OptimizationHints,MediaRouter,Translate \
        --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.*' --disable-dev-shm-usage --remote-debugging-port=0 \
        --user-data-dir="$dir/home/data" "http://127.0.0.1:$port/"; p=$pid
    await sh -c "curl -sf --noproxy '*' http://127.0.0.1:$port/all | grep -q '\"$((frames - 1))\"'" || return
    sleep 3
    for q in $(tree_of "$p"); do
        tr '\0' ' ' < "/proc/$q/cmdline" | grep -q -- --type=renderer && renderers="$renderers $q"
    done
    renderers=$(xargs <<< "$renderers")
    note "tree: $(tree_of "$p" | wc -l) processes, renderers: $renderers"
    for q in $renderers; do check "renderer $q: Seccomp $(field "$q" Seccomp), $(field "$q" Seccomp_filters) filters" test "$(field "$q" Seccomp)" = 2; done
    # The renderer with the most memory runs a frame.
    renderer=$(for q in $renderers; do echo "$(anon_kb "$q") $q"; done | sort -n | tail -1 | cut -d' ' -f2)
    asks=0 FRESH=page_fresh OLD=old
    page all > /dev/null; sleep 2; page_saw $frames "page, nothing done yet"
    for q in $renderers; do policies "$q"; done
    # Renderers of frames only: the page around them takes no memory.
    local busy=""
    local before; declare -A before=()
    for q in $renderers; do before[$q]=$(anon_kb "$q"); done
    page_fresh old 16
    for q in $renderers; do [ $(($(anon_kb "$q") - before[$q])) -gt 10000 ] && busy="$busy $q"; done
    note "renderers that run frames:$busy"
    for q in $busy; do always "$q"; done
    loop "$renderer"
    does "set nohugepage --tree --inherit, $(tree_of "$p" | wc -l) processes" set nohugepage --tree --inherit "$p"
    local out_of_it=""
    for q in $(tree_of "$p"); do case $(field "$q" THP_enabled) in 0 | '') ;; *) out_of_it="$out_of_it $q" ;; esac; done
    check "all processes of the tree have THP_enabled 0; not:${out_of_it:- none}" test -z "$out_of_it"
    for q in $busy; do fresh old small "renderer $q under the tree's policy" "$q"; done
    does "clear --tree" clear nohugepage --tree "$p"
    many=1; loop "$p" --tree $((LOOPS / 4)); many=
    # The owner has no CAP_SYS_ADMIN: the renderers' filters cannot be suspended, so hands off.
    for q in $renderers; do
        refuses 1 EPERM setpriv --reuid nobody --regid nogroup --clear-groups "$temp/mctl" set nohugepage "$q"
        enabled_is "$q" 1
    done
    seen=$(setpriv --reuid nobody --regid nogroup --clear-groups "$temp/mctl" set nohugepage "$q" 2>&1 | head -3)
    note "told to the owner: $seen"
    seen=$(setpriv --reuid nobody --regid nogroup --clear-groups "$temp/mctl" set nohugepage "$p" 2>&1) && [ "$(field "$p" THP_enabled)" = 0 ] && ok "the owner may change the browser process itself" || bad "browser process, by its owner: $seen"
    mctl clear nohugepage "$p"
    healthy "$p"
    check "the same renderers are alive" test "$(for q in $renderers; do alive "$q" && echo "$q"; done | xargs)" = "$renderers"
    page_saw $frames "page, whole time"
}

# Wrong words, wrong processes, and other users.
try_words() {
    local p q z inode me="setpriv --reuid 61001 --regid 61001 --clear-groups" kernel out
    launch a.log as 61001 61001 sleep 600; p=$pid
    launch b.log as 61002 61002 sleep 600; q=$pid
    sleep 0.2
    # Users.
    check "a user may change the user's own process" $me "$temp/mctl" set --quiet nohugepage --inherit "$p"
    enabled_is "$p" 0
    check "and take it back" $me "$temp/mctl" clear nohugepage "$p"
    check "and ask for hugepage" $me "$temp/mctl" set --quiet hugepage "$p"
    refuses 1 EPERM $me "$temp/mctl" set nohugepage "$q"
    enabled_is "$q" 1
    refuses 1 EPERM $me "$temp/mctl" set --admin nohugepage "$p"
    refuses 1 EPERM $me "$temp/mctl" set nohugepage 1
    refuses 1 EPERM $me "$temp/mctl" clear nohugepage "$q"
    out=$($me "$temp/mctl" get "$q" 2>&1); note "get on someone else's process, status $?: $(tail -1 <<< "$out")"
    refuses 1 EPERM $me "$temp/mctl" set nohugepage "$p" "$q"
    enabled_is "$p" 0
    note "two processes, one of them foreign: the own one was changed, and the status says 1"
    $me "$temp/mctl" clear nohugepage "$p"
    refuses 1 EPERM $me "$temp/mctl" set --atomic nohugepage "$p" "$q"
    enabled_is "$p" 1
    # Numbers.
    local none; none=$(($(cat /proc/sys/kernel/pid_max) - 1)); while [ -d "/proc/$none" ]; do none=$((none - 1)); done
    refuses 1 ESRCH "$temp/mctl" set nohugepage "$none"
    refuses 2 "" "$temp/mctl" set nohugepage 0
    refuses 2 "" "$temp/mctl" set nohugepage -1
    refuses 2 "" "$temp/mctl" set nohugepage -- -1
    refuses 2 "" "$temp/mctl" set nohugepage +5
    refuses 2 "" "$temp/mctl" set nohugepage 1x
    refuses 2 "" "$temp/mctl" set nohugepage 0x10
    refuses 2 "" "$temp/mctl" set nohugepage ''
    refuses 2 "" "$temp/mctl" set nohugepage ' '
    refuses 2 "" "$temp/mctl" set nohugepage 99999999999
    refuses 2 "" "$temp/mctl" set nohugepage 4294967297
    refuses 2 "" "$temp/mctl" set nohugepage 18446744073709551617
    refuses 2 "" "$temp/mctl" set nohugepage "$p:"
    refuses 2 "" "$temp/mctl" set nohugepage ":5"
    refuses 2 "" "$temp/mctl" set nohugepage "$p:x"
    refuses 2 "" "$temp/mctl" set nohugepage "$p:-1"
    refuses 2 "" "$temp/mctl" set nohugepage "$p:5:6"
    refuses 2 "" "$temp/mctl" set nohugepage "$p:18446744073709551616"
    refuses 1 ESRCH "$temp/mctl" set nohugepage 2147483647
    refuses 2 "" "$temp/mctl" set nohugepage 2147483648
    refuses 2 "" "$temp/mctl" set nohugepage
    refuses 2 "" "$temp/mctl" set "$p"
    refuses 2 "" "$temp/mctl" set hugepages "$p"
    refuses 2 "" "$temp/mctl" set hugepage,nohugepage "$p"
    refuses 2 "" "$temp/mctl" set nohugepage, "$p"
    refuses 2 "" "$temp/mctl" set nohugepage "$p" --tree --cgroup /
    refuses 2 "" "$temp/mctl" set nohugepage "$p" --no-such-option
    refuses 2 "" "$temp/mctl" set nohugepage $'\xff\xfe'
    refuses 1 ENOENT "$temp/mctl" set nohugepage --cgroup /no/such/cgroup
    refuses 2 "" "$temp/mctl" clear
    refuses 2 "" "$temp/mctl" get
    refuses 2 "" "$temp/mctl" get -o no-such-column "$p"
    refuses 1 "" "$temp/mctl" restore /no/such/file
    echo '{"processes": [{' > "$dir/broken.json"
    refuses 2 JSON "$temp/mctl" restore "$dir/broken.json"
    enabled_is "$p" 1
    # The same process and no other.
    inode=$(mctl get --json "$p" | python3 -c 'import json,sys; print(json.load(sys.stdin)["processes"][0]["inode"])')
    does "PID:INODE" set nohugepage --inherit "$p:$inode"
    does "PID:INODE, clear" clear nohugepage "$p:$inode"
    refuses 1 ESRCH "$temp/mctl" set nohugepage "$p:$((inode + 1))"
    refuses 1 ESRCH "$temp/mctl" set nohugepage "$p:0"
    enabled_is "$p" 1
    # A number that was really used again, in a PID namespace of its own.
    out=$(unshare -pf --mount-proc --kill-child bash -c '
        sleep 600 & a=$!
        i=$("$1" get --json $a | python3 -c "import json,sys; print(json.load(sys.stdin)[\"processes\"][0][\"inode\"])")
        "$1" set --quiet nohugepage $a:$i || echo first-failed
        kill -KILL $a; wait $a 2>/dev/null
        for try in 1 2 3 4 5; do
            echo $((a - 1)) > /proc/sys/kernel/ns_last_pid
            sleep 600 & b=$!
            [ $b = $a ] && break
        done
        [ $b = $a ] || echo not-reused
        "$1" set nohugepage $a:$i; echo "status $?"
        grep THP_enabled /proc/$b/status
        kill -KILL $b' - "$temp/mctl" 2>&1)
    if grep -q ESRCH <<< "$out" && grep -q 'status 1' <<< "$out" && grep -q $'THP_enabled:\t1' <<< "$out"; then ok "recycled PID with the old inode: ESRCH, the new process untouched"; else bad "recycled PID: $out"; fi
    # No address space.
    kernel=$(awk '$2 == "(kthreadd)" { print $1 }' /proc/2/stat 2>/dev/null)
    if [ -n "$kernel" ]; then
        refuses 1 ESRCH "$temp/mctl" set nohugepage "$kernel"
        refuses 1 ESRCH "$temp/mctl" clear nohugepage "$kernel"
        refuses 1 ESRCH "$temp/mctl" get "$kernel"
    else skip "no kernel thread is visible"; fi
    # The parent does not wait for its child.
    launch zombie.log python3 -c 'import os,time
z = os.fork()
if not z: os._exit(0)
print(z, flush=True); time.sleep(600)'
    await test -s "$dir/zombie.log"; z=$(cat "$dir/zombie.log"); sleep 0.2
    check "a zombie: $(field "$z" State)" test "$(field "$z" State)" = Z
    refuses 1 ESRCH "$temp/mctl" set nohugepage "$z"
    refuses 1 ESRCH "$temp/mctl" get "$z"
    # Stopped by a debugger; stopped by a signal.
    kill -STOP "$p"; sleep 0.1
    out=$(mctl set nohugepage --inherit "$p" 2>&1); note "on a stopped process, status $?: $out; state $(field "$p" State)"
    check "a stopped process stays stopped" test "$(field "$p" State)" = T
    kill -CONT "$p"; sleep 0.1
    check "and goes on when continued" test "$(field "$p" State)" = S
    mctl clear nohugepage "$p"
    # What the kernel cannot do exactly.
    refuses 1 EOPNOTSUPP "$temp/mctl" set --strict nohugepage "$p"
    refuses 1 EOPNOTSUPP "$temp/mctl" set --strict hugepage "$p"
    refuses 1 EOPNOTSUPP "$temp/mctl" set --strict hugepage-advised "$p"
    refuses 1 EOPNOTSUPP "$temp/mctl" set --strict mergeable "$p"
    refuses 1 EOPNOTSUPP "$temp/mctl" set fade-on-death "$p"
    enabled_is "$p" 1
    policy_is "$p" "inherit -"
    does "--strict where the kernel can" set --strict --inherit nohugepage "$p"
    does "clear" clear nohugepage "$p"
    # Processes that end while they are treated.
    local i rc hung=0 odd="" gone=0 done=0
    for i in $(seq 300); do
        sh -c 'i=0; while [ $i -lt '$((i * 71 % 20000))' ]; do i=$((i + 1)); done' & z=$!
        out=$(soon "$temp/mctl" set --quiet nohugepage --inherit "$z" 2>&1); rc=$?
        wait "$z" || odd="$odd child-status-$?"
        case $rc in 0) done=$((done + 1)) ;; 1) gone=$((gone + 1)); grep -qE 'ESRCH|executed another program' <<< "$out" || odd="$odd $out" ;; 142) hung=$((hung + 1)) ;; *) odd="$odd status-$rc" ;; esac
    done
    if [ $hung = 0 ] && [ -z "$odd" ]; then ok "300 processes that end meanwhile: $done done, $gone gone or in exec, none hung"; else bad "processes that end meanwhile: $done done, $gone gone, $hung hung; $odd"; fi
    healthy "$p"; healthy "$q"
}

# The verbs that move pages (mctl pageout, collapse, advise), where this mctl has them: redis with
# 1 GiB of keys of known content, and a swap file of our own.
speed() { soon redis-benchmark -p "$port" -n 150000 -r 1000000 -c 16 --csv GET known:__rand_int__ | awk -F'","' 'END { print $2 " requests/s" }'; }
coverage() { mctl get --noheadings -o coverage "$redis" | tr -d ' %'; }
try_reclaim() {
    local out status swapped before after
    grep -q '^  pageout' <("$temp/mctl" --help) || { skip "this mctl has no pageout, collapse and advise yet"; return; }
    chown 61001:61001 "$dir"
    redis_start thp:default || return
    check "1000000 known keys of 1000 bytes written" python3 "$programs/check_redis.py" "$port" fill 1000000 1000
    swap=$dir/swapfile
    (umask 077; fallocate -l 3G "$swap") && mkswap -q "$swap" && swapon "$swap" || { skip "no swap file possible here"; swap=; return; }
    launch check.log python3 "$programs/check_redis.py" "$port" 2 900; local checker=$pid
    sleep 1
    before=$(field "$redis" VmRSS)
    out=$(soon "$temp/mctl" pageout "$redis" 2>&1); status=$?
    swapped=$(field "$redis" VmSwap)
    note "pageout said: $(tr '\n' ';' <<< "$out")"
    check "pageout: status $status, resident $((before / 1024)) MiB before, $(($(field "$redis" VmRSS) / 1024)) MiB after, swapped $((swapped / 1024)) MiB" test "$status" = 0 -a "$swapped" -gt 700000
    check "1000000 known keys read back and compared" python3 "$programs/check_redis.py" "$port" read 1000000 1000
    note "swapped after reading: $(($(field "$redis" VmSwap) / 1024)) MiB"
    if swapoff "$swap"; then ok "swap file removed"; rm -f "$swap"; swap=; else bad "swapoff"; fi
    refuses 1 EPERM "$temp/mctl" advise dontneed --anon "$redis"
    does "cold" cold --quiet "$redis"
    before=$(coverage)
    note "redis-benchmark GET before: $(speed), $(speed)"
    does "set nohugepage" set --quiet nohugepage "$redis"
    out=$(soon "$temp/mctl" collapse "$redis" 2>&1); status=$?
    check "collapse under nohugepage made nothing huge (status $status)" test "$(huge_kb "$redis")" -lt 4096
    does "clear nohugepage" clear nohugepage "$redis"
    out=$(soon "$temp/mctl" collapse --min-coverage 95 "$redis" 2>&1); status=$?
    after=$(coverage)
    note "collapse said: $(tr '\n' ';' <<< "$out")"
    check "collapse --min-coverage 95: status $status, coverage $before % before, $after % after" test "$status" = 0
    note "redis-benchmark GET after: $(speed), $(speed)"
    check "1000000 known keys read back and compared" python3 "$programs/check_redis.py" "$port" read 1000000 1000
    healthy "$redis"
    kill -TERM "$checker"
    if wait "$checker"; then ok "answers compared meanwhile: $(cat "$dir/check.log")"; else bad "answers compared meanwhile: $(cat "$dir/check.log")"; fi
}

# ---- main -------------------------------------------------------------------------------------

# In braces: the shell has read it all before it begins.
{
[ "$(id -u)" = 0 ] || { echo "needs root (programs run as other users, and seccomp filters are suspended)" >&2; exit 2; }
[ -x "$MCTL" ] || { echo "no mctl at $MCTL: cargo build --release -p mctl-cli, or set MCTL" >&2; exit 2; }
grep -q '\[madvise\]' /sys/kernel/mm/transparent_hugepage/enabled || { echo "the host's THP knob does not say madvise; the checks are written for that" >&2; exit 2; }

declare -A needs=(
    [words]="unshare python3" [static-c]="musl-gcc wrk" [static-go]="go wrk" [python3]="python3 wrk" [node]="node wrk" [java]="java javac wrk"
    [nginx]="nginx wrk" [redis]="redis-server redis-benchmark redis-cli" [postgres]="psql pgbench" [chromium]="chromium" [reclaim]="redis-server"
)
# A python3 that other users may execute too: the system's own first.
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
temp=$(mktemp -d "${TMPDIR:-/tmp}/mctl-tries.XXXXXX"); chmod 755 "$temp"
cp "$MCTL" "$temp/mctl"; cp -r "$here/programs" "$temp/"; chmod -R a+rX "$temp"; programs=$temp/programs
trap leave EXIT
trap 'exit 130' INT TERM HUP
echo "mctl $("$temp/mctl" --version | cut -d' ' -f2), Linux $(uname -r), THP $(cat /sys/kernel/mm/transparent_hugepage/enabled)"

for name in ${*:-$ALL}; do
    [ -n "${needs[$name]:-}" ] || { echo "no such program: $name (there are: $ALL)" >&2; exit 2; }
    missing=""
    for tool in ${needs[$name]} curl setpriv python3; do command -v "$tool" > /dev/null || missing="$missing $tool"; done
    begin "$name"
    if [ -n "$missing" ]; then skip "not installed:$missing"; continue; fi
    began=$SECONDS
    "try_${name//-/_}"
    finish
    note "took $((SECONDS - began)) s"
done
echo "$checks checks, $failures failed"
[ $failures = 0 ]
exit
}
