#!/usr/bin/env bash
# Random commands on the demo for a while, with what goes wrong in real life: Ctrl+C, kill -9, a full disk, read-only folders, odd and very
# long paths, damaged files, two processes on one cache, a clock that jumps. Nothing may be lost, half-written or stuck.
#
#   tools/soak.sh [SECONDS] [SEED]        default: 600 seconds, a seed that is printed
#
# YAPO names the program (default: the Release build of this checkout). A full disk and a read-only folder need root (two small tmpfs
# mounts, removed at the end); without it they are left out, and the summary says so. The clock jumps through
# libfaketime (Debian: faketime), named in YAPO_FAKETIME or found; without it that is left out too. One kind of action only: YAPO_SOAK_ACTIONS="clock serve".
set -uo pipefail
# Started in the background of another script, this one ignores Ctrl+C, and so would every program that it starts.
[[ -n ${YAPO_SOAK_SIGNALS:-} ]] || ! env --default-signal=INT true 2>/dev/null || YAPO_SOAK_SIGNALS=1 exec env --default-signal=INT,QUIT bash "$0" "$@"
set -m # background jobs of a script ignore Ctrl+C otherwise
root=$(cd "$(dirname "$0")/.." && pwd)
yapo=${YAPO:-$root/src/YaPO.Llama.Cli/bin/Release/net10.0/yapo-llama}
seconds=${1:-600} seed=${2:-$((SRANDOM % 32768))}
limit=${YAPO_SOAK_LIMIT:-300} # a command that runs longer hangs
exec 2> >(grep --line-buffered -vE ' (Killed|Interrupt) ' >&2) # what bash says about every process that this script kills
[[ -x $yapo ]] || { echo "soak: $yapo is not there; build first, or name the program in YAPO" >&2; exit 2; }
RANDOM=$seed
demo=$root/models/demo
work=$(mktemp -d "${TMPDIR:-/tmp}/yapo-soak-XXXXXX")
export YAPO_CACHE_DIR=$work/cache YAPO_MODEL_DIR=$demo
declare -A done_count
failures=0 commands=0 killed=0 interrupted=0

finish() {
    ((BASHPID == $$)) || return # a child that Ctrl+C met before it became the program that it was to be
    mountpoint -q "$work/full" 2>/dev/null && umount "$work/full"
    mountpoint -q "$work/readonly" 2>/dev/null && umount "$work/readonly"
    rm -rf "$work"
}
trap finish EXIT

fail() {
    failures=$((failures + 1))
    printf 'soak: FAILED (%s): %s\n' "$action" "$*"
    [[ -s $work/err ]] && tail -5 "$work/err" | sed 's/^/    /'
}
# Not through a subshell, in which RANDOM would not go on.
draw() { local -n into=$1; shift; local choices=("$@"); into=${choices[RANDOM % ${#choices[@]}]}; }

# run WANTED ARGS...: exit code within WANTED (separated by |), no crash, no stack trace, no hang.
run() {
    local wanted=$1 code; shift
    commands=$((commands + 1))
    timeout --kill-after=5 "$limit" "$yapo" "$@" >"$work/out" 2>"$work/err" </dev/null
    code=$?
    judge "$code" "$wanted" "$*"
}
judge() {
    local code=$1 wanted=$2 what=$3
    if ((code == 124 || code == 137)); then fail "hang: $what"; return 1; fi
    if ((code == 132 || code == 134 || code == 136 || code == 139)); then fail "crash, exit code $code: $what"; return 1; fi
    if grep -q '^   at ' "$work/err"; then fail "a stack trace: $what"; return 1; fi
    if [[ "|$wanted|" != *"|$code|"* ]]; then fail "exit code $code, expected $wanted: $what"; return 1; fi
}
# stopped SIGNAL ARGS...: the same, ended by a signal after a random while; sets `ended`: done, stopped
stopped() {
    local signal=$1 pid code; shift
    commands=$((commands + 1))
    "$yapo" "$@" >"$work/out" 2>"$work/err" </dev/null &
    pid=$!
    sleep "$((RANDOM % 6)).$((RANDOM % 10))"
    kill -"$signal" "$pid" 2>/dev/null
    for ((i = 0; i < limit * 5; i++)); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    if kill -0 "$pid" 2>/dev/null; then kill -KILL "$pid"; fail "did not end after signal $signal: $*"; fi
    wait "$pid" 2>/dev/null; code=$?
    ended=stopped
    ((code == 0)) && ended=done
    if [[ $signal == KILL ]]; then killed=$((killed + 1)); else
        interrupted=$((interrupted + 1))
        judge "$code" '0|130' "after signal $signal: $*"
    fi
}
sum() { sha256sum <"$1" | cut -d' ' -f1; }
# The folder that this action works in: plain, non-ASCII with spaces, very long.
place() {
    local where
    draw where "$work/plain" "$work/ünï cödé ☕ 日本" "$long"
    mkdir -p "$where/$((RANDOM % 3))" && here=$where/$((RANDOM % 3))
    mkdir -p "$here"
}

long=$work
for _ in 1 2 3 4 5 6 7 8 9 10; do long=$long/$(printf 'x%.0s' {1..200}); done
mkdir -p "$long"
vectors=("$demo"/vectors/*.ysv)
models=("$demo"/demo-*.gguf)
head -12 "$demo/data/pairs-egypt-validation.jsonl" >"$work/pairs.jsonl"
head -6 "$demo/data/pairs-egypt-validation.jsonl" | sed 's/, *"rejected": *"[^"]*"//' >"$work/prompts.jsonl"
train=(train --model "$demo/demo-q8_0.gguf" --sae "$demo/sae.gguf" --data "$work/pairs.jsonl" --steps 12 --batch-size 4 --warmup-steps 2 --refit-steps 6 --max-features 32 --threads 1 --name soak --quiet)
rejected=(data rejected --model "$demo/demo-q8_0.gguf" --input "$work/prompts.jsonl" -n 12 --parallel 2 --threads 1 --quiet)

action=reference
printf 'soak: %s s, seed %s, %s\n' "$seconds" "$seed" "$("$yapo" --version | head -1)"
run 0 "${train[@]}" --output "$work/reference.ysv" && run 0 "${rejected[@]}" --output "$work/reference.jsonl" && run 0 model quantize --input "$demo/demo-f16.gguf" --output "$work/reference.gguf" --type q4_0 --threads 1 ||
    { echo "soak: the reference runs failed"; exit 1; }
trained=$(sum "$work/reference.ysv") generated=$(sum "$work/reference.jsonl") quantized=$(sum "$work/reference.gguf")

faketime=${YAPO_FAKETIME:-}
[[ -n $faketime ]] || for file in /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib/faketime/libfaketimeMT.so.1; do [[ -e $file ]] && { faketime=$file; break; }; done

is_root=0
if ((EUID == 0)) && mkdir "$work/full" "$work/readonly" && mount -t tmpfs -o size=1m tmpfs "$work/full" 2>/dev/null && mount -t tmpfs -o size=1m tmpfs "$work/readonly" 2>/dev/null; then
    is_root=1
    cp "${vectors[0]}" "$work/readonly/kept.ysv"
    mount -o remount,ro "$work/readonly"
fi

do_generate() {
    local vector model strength
    draw vector "${vectors[@]}"; draw model "${models[@]}"; draw strength 0 0.5 1 -1 3
    run 0 generate -p "What do people eat for breakfast? $RANDOM" --model "$model" --vector "$vector:$strength" -n 8 --threads 1 --seed $RANDOM --temp 1
}
do_prune() { # replaces its output over and over; after a kill there is the old file or the new one
    local vector signal
    place; draw vector "${vectors[@]}"; draw signal KILL INT
    run 0 vector prune "$vector" --top-k $((1 + RANDOM % 64)) -o "$here/small.ysv" || return
    stopped "$signal" vector prune "$vector" --top-k $((1 + RANDOM % 64)) -o "$here/small.ysv"
    run 0 vector info "$here/small.ysv"
}
do_quantize() {
    local signal
    place; draw signal KILL KILL INT
    rm -f "$here/q.gguf"
    stopped "$signal" model quantize --input "$demo/demo-f16.gguf" --output "$here/q.gguf" --type q4_0 --threads 1
    [[ ! -e $here/q.gguf || $(sum "$here/q.gguf") == "$quantized" ]] || fail "a half-written model stands under its final name"
    run 0 model quantize --input "$demo/demo-f16.gguf" --output "$here/q.gguf" --type q4_0 --threads 1 && [[ $(sum "$here/q.gguf") == "$quantized" ]] || fail "quantized after an interruption, other bytes"
}
do_train() { # interrupted up to four times, then to the end: the bytes of an uninterrupted run
    local signal
    place
    rm -rf "$here/run" "$here/v.ysv"
    ended=stopped
    for _ in 1 2 3 4; do
        draw signal KILL INT
        stopped "$signal" "${train[@]}" --output "$here/v.ysv" --checkpoint "$here/run" --checkpoint-every 0 --resume
        [[ $ended == done ]] && break
    done
    [[ $ended == done ]] || run 0 "${train[@]}" --output "$here/v.ysv" --checkpoint "$here/run" --checkpoint-every 0 --resume || return
    [[ $(sum "$here/v.ysv") == "$trained" ]] || fail "resumed training gave other bytes"
}
do_rejected() {
    local signal
    place
    rm -f "$here"/r.jsonl*
    ended=stopped
    for _ in 1 2 3; do
        draw signal KILL INT
        stopped "$signal" "${rejected[@]}" --output "$here/r.jsonl"
        [[ $ended == done ]] && break
    done
    [[ $ended == done ]] || run 0 "${rejected[@]}" --output "$here/r.jsonl" || return
    [[ $(sum "$here/r.jsonl") == "$generated" ]] || fail "resumed generation gave other lines"
}
do_full_disk() {
    ((is_root)) || return
    rm -rf "$work/full"/*
    run 0 vector prune "${vectors[0]}" --top-k 4 -o "$work/full/kept.ysv" || return
    local before; before=$(sum "$work/full/kept.ysv")
    head -c "$((700000 + RANDOM * 10))" /dev/zero >"$work/full/filler" 2>/dev/null
    case $((RANDOM % 3)) in
        0) run '1|3' model quantize --input "$demo/demo-f16.gguf" --output "$work/full/kept.ysv" --type q8_0 --threads 1 ;;
        1) run '1|3' vector prune "${vectors[1]}" --top-k 256 -o "$work/full/kept.ysv" ;;
        2) run '1|3' vector combine "${vectors[0]}:1" "${vectors[1]}:-0.5" -o "$work/full/kept.ysv" ;;
    esac
    [[ $(sum "$work/full/kept.ysv") == "$before" ]] || fail "the old file was lost on a full disk"
    [[ $(find "$work/full" -type f | wc -l) == 2 ]] || fail "a temporary file stayed on the full disk: $(ls "$work/full" | tr '\n' ' ')"
}
do_read_only() {
    ((is_root)) || return
    run '1|3' vector prune "${vectors[0]}" --top-k 4 -o "$work/readonly/kept.ysv"
    run 0 vector info "$work/readonly/kept.ysv"
    YAPO_CACHE_DIR=$work/readonly/cache run 0 generate -p hello --vector "${vectors[0]}" -n 2 --threads 1 # a cache that cannot be written is none
}
do_damaged() {
    local file size
    place; draw file "${vectors[@]}" "${models[@]}" "$demo/sae.gguf"
    size=$(stat -Lc %s "$file")
    case $((RANDOM % 3)) in
        0) head -c "$(((RANDOM * 32768 + RANDOM) % size))" "$file" >"$here/damaged.gguf" ;;
        1) head -c 4096 /dev/urandom >"$here/damaged.gguf" ;;
        2) cp "$file" "$here/damaged.gguf"; for _ in 1 2 3 4; do printf "\\x$(printf %02x $((RANDOM % 256)))" | dd of="$here/damaged.gguf" bs=1 seek=$((RANDOM % 2048)) conv=notrunc 2>/dev/null; done ;;
    esac
    run '0|1|3' model info "$here/damaged.gguf"
    run '0|1|3' vector info "$here/damaged.gguf"
    run '0|1|3' generate -p hello --model "$here/damaged.gguf" -n 2 --threads 1
    run '0|1|3' sae info "$here/damaged.gguf"
}
do_two_on_one_cache() {
    local first second a b
    rm -rf "$work/cache"
    draw first "${vectors[@]}"; draw second "${vectors[@]}"
    timeout "$limit" "$yapo" generate -p one --vector "$first" -n 2 --threads 1 >/dev/null 2>"$work/err.a" & a=$!
    timeout "$limit" "$yapo" generate -p two --vector "$second" -n 2 --threads 1 >/dev/null 2>"$work/err" & b=$!
    commands=$((commands + 2))
    wait $a; local first_code=$?
    wait $b; judge $? 0 "second process on one cache"
    cp "$work/err.a" "$work/err"; judge $first_code 0 "first process on one cache"
    run 0 generate -p three --vector "$first" -n 2 --threads 1
    find "$work/cache" -name '*.tmp*' | grep -q . && fail "temporary files in the cache: $(ls "$work/cache" | tr '\n' ' ')"
}
do_killed_cache() {
    stopped KILL generate -p hello --vector "${vectors[0]}" -n 2 --threads 1
    run 0 generate -p hello --vector "${vectors[0]}" -n 2 --threads 1
}
do_chat() {
    commands=$((commands + 1))
    printf 'What do people eat?\n/strength 0\nAnd drink?\n/compare\nWhy?\n/nonsense\n' | timeout "$limit" "$yapo" chat --vector "${vectors[0]}" -n 8 --threads 1 >"$work/out" 2>"$work/err"
    judge $? 0 chat
    stopped INT chat --vector "${vectors[0]}" -n 8 --threads 1
}
do_serve() {
    local pid port signal stream clients=()
    draw signal INT KILL
    commands=$((commands + 1))
    : >"$work/out" # now, not when the job begins: what the command before wrote looks like a port
    "$yapo" serve --vector "mine=${vectors[0]}" --port 0 --threads 1 --ctx-size 128 >"$work/out" 2>"$work/err" </dev/null &
    pid=$!
    for ((i = 0; i < limit * 5; i++)); do port=$(grep -oE ':[0-9]+' "$work/out" | head -1); [[ -n $port ]] && break; kill -0 $pid 2>/dev/null || break; sleep 0.2; done
    [[ -n $port ]] || { kill -KILL $pid 2>/dev/null; wait $pid 2>/dev/null; fail "serve did not come up"; return; }
    for n in 1 2 3 4; do
        draw stream true false
        curl -s -m $((RANDOM % 3 + 1)) "http://127.0.0.1$port/v1/chat/completions" -H 'Content-Type: application/json' \
            -d "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello $n\"}], \"max_tokens\": 8, \"stream\": $stream, \"steering\": [{\"vector\": \"mine\", \"strength\": $n}]}" >/dev/null &
        clients+=($!)
    done
    sleep "$((RANDOM % 3)).5"
    kill -$signal $pid
    for ((i = 0; i < limit * 5; i++)); do kill -0 $pid 2>/dev/null || break; sleep 0.2; done
    kill -0 $pid 2>/dev/null && { kill -KILL $pid; fail "serve did not end after $signal"; }
    wait $pid 2>/dev/null; local code=$?
    [[ $signal == INT ]] && judge $code '0|130' "serve after Ctrl+C"
    wait "${clients[@]}"
}

# jumping ARGS...: the program's time of day jumps by up to ten years, forwards and backwards, several times a second; only the time of day, as
# when a clock is set: what measures durations must not notice. Its exit code is in `code`.
jumps=$seed
jump() { # draws of its own: how often this runs depends on the time, and what a seed repeats must not
    jumps=$(((jumps * 1103515245 + 12345) % 2147483648))
    echo "$( ((jumps & 65536)) && echo + || echo -)$((jumps % 315360000))" >"$work/clock.next" && mv "$work/clock.next" "$work/clock"
}
jumping() {
    local pid
    commands=$((commands + 1))
    echo '+0' >"$work/clock"
    LD_PRELOAD=$faketime FAKETIME_TIMESTAMP_FILE=$work/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 \
        timeout --kill-after=5 "$limit" "$yapo" "$@" >"$work/out" 2>"$work/err" </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do jump; sleep 0.2; done
    wait "$pid" 2>/dev/null; code=$?
    judge "$code" 0 "a jumping clock: $*" || return
    # Durations and what is left of them: none is negative, none a year.
    ! grep -qE -- '(^|[ ,(])-[0-9]+([.:][0-9]+)* ?(s|ms|min|h|left|remaining|tokens/s)\b|(^|[ ,(])-[0-9]+:|[0-9]+\.[0-9]{2}:[0-9]{2}:[0-9]{2}|[0-9]{5,} (s|min|h)\b' "$work/err" "$work/out" ||
        fail "an absurd duration: $(grep -hE -m1 -- '-[0-9]+:|-[0-9.]+ ?s|\.[0-9]{2}:|[0-9]{5,}' "$work/err" "$work/out")"
}
do_clock() {
    local code=0
    [[ -n $faketime ]] || return
    place
    rm -rf "$here"/run "$here"/v.ysv "$here"/r.jsonl*
    case $((RANDOM % 3)) in
        0)
            jumping "${train[@]/--quiet/--verbose}" --output "$here/v.ysv" --checkpoint "$here/run" --checkpoint-every 0 --log "$here/log.jsonl" && [[ $(sum "$here/v.ysv") == "$trained" ]] || fail "another clock, other training"
            ! grep -qE '"seconds": ?-' "$here/log.jsonl" || fail "a negative duration in the log" ;;
        1) jumping "${rejected[@]/--quiet/--verbose}" --output "$here/r.jsonl" && [[ $(sum "$here/r.jsonl") == "$generated" ]] || fail "another clock, other answers" ;;
        2) do_clock_serve ;;
    esac
}
# A server while its clock jumps: each request is answered within its limit, Ctrl+C ends it in time.
do_clock_serve() {
    local port pid answered made moved=0
    commands=$((commands + 1))
    : >"$work/out"
    echo '+0' >"$work/clock"
    LD_PRELOAD=$faketime FAKETIME_TIMESTAMP_FILE=$work/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 \
        "$yapo" serve --vector "mine=${vectors[0]}" --port 0 --threads 1 --ctx-size 256 >"$work/out" 2>"$work/err" </dev/null &
    pid=$!
    for ((i = 0; i < limit * 5; i++)); do port=$(grep -oE ':[0-9]+' "$work/out" | head -1); [[ -n $port ]] && break; kill -0 $pid 2>/dev/null || break; sleep 0.2; done
    [[ -n $port ]] || { kill -KILL $pid 2>/dev/null; wait $pid 2>/dev/null; fail "serve did not come up under a jumping clock"; return; }
    for n in 1 2 3 4 5 6; do
        jump
        answered=$(curl -s -m 60 "http://127.0.0.1$port/v1/chat/completions" -H 'Content-Type: application/json' \
            -d "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello $n\"}], \"max_tokens\": 8, \"steering\": [{\"vector\": \"mine\"}]}")
        [[ $answered == *'"choices"'* ]] || fail "no answer under a jumping clock: $answered"
        made=$(grep -oE '"created": ?[0-9]+' <<<"$answered" | grep -oE '[0-9]+$')
        [[ -n $made ]] && (((made - $(date +%s)) / 86400 != 0)) && moved=1
    done
    ((moved)) || fail "the clock was not moved: is $faketime in effect?"
    kill -INT $pid
    for ((i = 0; i < limit * 5; i++)); do kill -0 $pid 2>/dev/null || break; sleep 0.2; done
    kill -0 $pid 2>/dev/null && { kill -KILL $pid; fail "serve did not end after Ctrl+C under a jumping clock"; }
    wait $pid 2>/dev/null; judge $? '0|130' "serve under a jumping clock"
}

actions=(generate prune quantize train rejected full_disk read_only damaged two_on_one_cache killed_cache chat serve clock)
read -ra actions <<<"${YAPO_SOAK_ACTIONS:-${actions[*]}}"
started=$SECONDS
while ((SECONDS - started < seconds)); do
    draw action "${actions[@]}"
    "do_$action"
    done_count[$action]=$((${done_count[$action]:-0} + 1))
done

printf 'soak: %d s, %d commands (%d killed, %d interrupted), %d failures; seed %s\n' "$((SECONDS - started))" "$commands" "$killed" "$interrupted" "$failures" "$seed"
for name in "${actions[@]}"; do printf 'soak:   %-18s %d\n' "$name" "${done_count[$name]:-0}"; done
[[ -n $faketime ]] || echo "soak: not tried, because there is no libfaketime: clock"
((is_root)) || echo "soak: not tried, because it needs root: full_disk, read_only"
leftovers=$(find "$work" -type f \( -name '*.tmp*' -o -name '*.partial*' \) | wc -l)
echo "soak: $leftovers temporary files left by killed processes (never under a final name)"
((failures == 0))
