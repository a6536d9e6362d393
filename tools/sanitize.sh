#!/usr/bin/env bash
# The native tests under sanitizers. For a night, or before a release:
#
#   tools/sanitize.sh [own|all] [address|thread|both] [FILTER]     default: own both, every case
#
#   own   instruments libyapo and its tests; llama.cpp is built as usual (on two busy cores: address 6 minutes to build and 6 to run, thread 4 and 10).
#   all   instruments llama.cpp and ggml too (presets asan, tsan). About ten minutes of CPU time each to build.
#
# address: AddressSanitizer, UndefinedBehaviorSanitizer and leaks, every case. thread: ThreadSanitizer, the cases that share state between threads
# (contexts of one model, cancelling, logging, attachments, training workers). Each case is a process of its own. FILTER: a regular expression of case names.
# Left out: "Reference_", "Published_", "Compat", "CudaGraphs_", "CudaPtx_" and "CudaRuntime_" cases, which need what others built or compile; "_Speed" cases, which check nothing.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
scope=${1:-own} which=${2:-both} filter=${3:-.}
case $scope in own|all) ;; *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
case $which in address|thread|both) ;; *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
export ASAN_OPTIONS=detect_leaks=1:halt_on_error=1:allocator_may_return_null=1
export LSAN_OPTIONS=suppressions=$root/tests/native/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
[[ $scope == all ]] || TSAN_OPTIONS+=:suppressions=$root/tests/native/tsan.supp
shared='Attachment_|Threads_|Cancel|Log_|Lifecycle|ModelLoad_|Quantize_|Stock_|TrainUpper|TrainLm|TrainSae|TrainCodes|TrainHead|TrainWeights'
jobs=${YAPO_JOBS:-$(nproc)}
failures=0

check() { # NAME of the preset, the sanitizers, what to run
    local name=$1 sanitizers=$2 cases=$3 build=$root/artifacts/native/$1 log passed=0 failed=0 start=$SECONDS
    if [[ $scope == all ]]; then
        cmake --preset "$name" -S "$root" >/dev/null || exit 1
    else
        build+=-own
        cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DYAPO_SANITIZE="$sanitizers" >/dev/null || exit 1
    fi
    cmake --build "$build" --target yapo-native-tests --parallel "$jobs" >"$build/build.log" 2>&1 || { tail -20 "$build/build.log"; exit 1; }
    echo "sanitize: $name: built in $((SECONDS - start)) s"
    start=$SECONDS
    log=$(mktemp)
    for test in $("$build/stage/yapo-native-tests" --list | grep -Ev '^(Reference|Published|Compat|CudaGraphs|CudaPtx|CudaRuntime)|_Speed$' | grep -E "$cases" | grep -E "$filter"); do
        if timeout 900 "$build/stage/yapo-native-tests" --run "$test" >"$log" 2>&1; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "sanitize: $name: FAILED $test"
            grep -E -A25 'ERROR: |WARNING: ThreadSanitizer|runtime error|^FAILED' "$log" | head -60 | sed 's/^/    /'
        fi
    done
    rm -f "$log"
    echo "sanitize: $name: $passed cases clean, $failed not, $((SECONDS - start)) s"
    failures=$((failures + failed))
}

[[ $which == thread ]] || check asan address,undefined .
[[ $which == address ]] || check tsan thread "$shared"
((failures == 0))
