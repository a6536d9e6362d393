#!/usr/bin/env bash
# Cross-compiles the native part for 64-bit Arm Linux (preset arm64: llama.cpp, libyapo, the shims, the native tests) and, where qemu is installed, runs the
# cases of the kernel, the hook, contexts, capture, read-out and files in its emulation. What this does not check: speed, and the C# part.
#   tools/check-arm64.sh [FILTER]      FILTER: a regular expression of case names instead of those. Needs g++-aarch64-linux-gnu; qemu-user for the cases.
# Ends with 0 and the reason where the compiler is not installed.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
filter=${1:-^(Kernel|Hook|ControlVector|FullSae|Decode|EndToEnd|Capture|Readout|Attach|Logits|Gguf|Tokens|Graphs)_}
heavy='_Speed$|^Decode_Cancelled' # minutes of arithmetic in emulation
build=$root/artifacts/native/arm64
start=$SECONDS
if ! command -v aarch64-linux-gnu-g++ >/dev/null; then
    echo "arm64: not checked: g++-aarch64-linux-gnu is not installed"
    exit 0
fi

cmake --preset arm64 -S "$root" >/dev/null
cmake --build "$build" --parallel "${YAPO_JOBS:-$(nproc)}" >"$build/build.log" 2>&1 || { tail -30 "$build/build.log" >&2; exit 1; }
echo "arm64: built in $((SECONDS - start)) s: $(file -b "$(realpath "$build/stage/libyapo.so")" 2>/dev/null | cut -d, -f1-2 || echo libyapo.so)"
if ! command -v qemu-aarch64 >/dev/null; then
    echo "arm64: cases not run: qemu-user is not installed"
    exit 0
fi

tests=(qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/stage/yapo-native-tests")
log=$(mktemp) passed=0 failed=0
trap 'rm -f "$log"' EXIT
start=$SECONDS
for case in $("${tests[@]}" --list | grep -E "$filter" | grep -Ev "$heavy"); do
    if timeout 300 "${tests[@]}" --run "$case" >"$log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "arm64: FAILED $case"
        tail -15 "$log" | sed 's/^/    /'
    fi
done
echo "arm64: $passed cases passed in emulation, $failed failed, $((SECONDS - start)) s"
((failed == 0 && passed > 0))
