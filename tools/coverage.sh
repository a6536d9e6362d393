#!/usr/bin/env bash
# Which refusals of libyapo no native test has ever seen: every line that throws one (`fail(`, `throw failure(`), counted by gcov.
#
#   tools/coverage.sh [FILTER]        FILTER: a regular expression of cases; default: every case
#
# YAPO_KEEP_COUNTS=1 adds to what earlier runs counted. Ends with 1 where a refusal is not reached that tests/native/unreached.txt does not name
# with its reason. About half an hour on two cores: nothing of ours is optimized, so that a line is what was written. llama.cpp is built as usual.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/artifacts/native/coverage filter=${1:-.}
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DYAPO_COVERAGE=ON >/dev/null || exit 1
cmake --build "$build" --target yapo-native-tests --parallel "${YAPO_JOBS:-$(nproc)}" >"$build/build.log" 2>&1 || { tail -20 "$build/build.log"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[[ -n ${YAPO_KEEP_COUNTS:-} ]] || find "$build" -name '*.gcda' -delete
failed=0
for test in $("$build/stage/yapo-native-tests" --list | grep -Ev '^(Reference|Published|Compat|CudaGraphs|CudaPtx|CudaRuntime)|_Speed$' | grep -E "$filter"); do
    timeout 1800 "$build/stage/yapo-native-tests" --run "$test" >"$work/log" 2>&1 || { failed=$((failed + 1)); echo "coverage: FAILED $test"; }
done

# A source may be compiled into several libraries: reached in one is reached. Each target in a folder of its own, whose files gcov names alike.
for target in yapo yapo-train yapo-template yapo-stock; do
    mkdir "$work/$target"
    (cd "$work/$target" && find "$build/native" -path "*CMakeFiles/$target.dir/*" -name '*.gcno' -print0 | xargs -0 gcov -p >/dev/null 2>&1)
done
for counted in "$work"/*/*.gcov; do
    source=$(sed -n 's/^ *-: *0:Source://p' "$counted")
    [[ $source == "$root"/native/src/* || $source == "$root"/native/stock/* ]] &&
        grep -E '^ *([0-9]+\*?|#####|=====): *[0-9]+:.*\b(fail\(|throw failure\()' "$counted" | sed "s|^|${source#"$root"/native/}:|"
done | awk -F: -v known="$root/tests/native/unreached.txt" '
    BEGIN { while ((getline line < known) > 0) if (line !~ /^#/ && (at = index(line, ": ")) > 0) { n++; file[n] = substr(line, 1, at - 1); part[n] = substr(line, at + 2); sub(/ \| .*/, "", part[n]) } }
    { key = $1 ":" ($3 + 0); if (!(key in text)) { order[++sites] = key; text[key] = $0 } if ($2 !~ /[#=]/) hit[key] = 1 }
    END {
        for (i = 1; i <= sites; i++) {
            key = order[i]
            if (key in hit) continue
            reason = 0
            for (j = 1; j <= n; j++) if (index(key, file[j] ":") == 1 && index(text[key], part[j])) reason = 1
            if (reason) { named++; continue }
            unreached++
            line = text[key]; sub(/^[^:]*:[^:]*:[^:]*: */, "", line)
            print "coverage: not reached: native/" key ": " line
        }
        printf "coverage: %d refusals, %d reached, %d named as unreachable here, %d not reached\n", sites, sites - named - unreached, named, unreached
        exit unreached > 0
    }'
missed=$?
((failed == 0)) || echo "coverage: $failed cases failed"
((missed == 0 && failed == 0))
