#!/usr/bin/env bash
# Everything that only a machine with an NVIDIA GPU can show, in one command:
#
#   tools/verify-cuda.sh OUT_FOLDER
#
# 1. builds the native part with the preset "cuda" for this machine's GPU (YAPO_CUDA_FLASH=0 leaves out flash attention, whose many
#    kernels take long to compile);
# 2. runs the kernels against their host twin, a steered model against the oracle, and the proof that decoding stays one captured CUDA
#    graph while strengths change at every token; then the steering cases of the ordinary tests, and training's gradients on CUDA0;
# 3. measures: the kernels alone, and a model of Gemma-2-2B's width (YAPO_LAYERS of its 26 blocks, default 8), our kernels and ggml's ops
#    beside the unsteered model in one process; with the .NET SDK there and YAPO_MODEL set, `yapo-llama bench steering` on that model too;
# 4. writes OUT_FOLDER/cuda.md and OUT_FOLDER/cuda.json, which name the GPU, and the logs beside them.
#
# Needed: the CUDA toolkit (nvcc), cmake, ninja or make, a C++17 compiler, git, npm. Without npm: YAPO_LLAMA_CPP_DIR, a checkout of the
# pinned llama.cpp. Ends with 0 where every check passed; a failed step does not keep the next from running.
#
#   tools/verify-cuda.sh --emulated OUT_FOLDER
#
# does steps 1, 2 and 4 on a machine with the toolkit and no GPU, on the emulated device of tests/native/cuda_emulator: the same ggml-cuda,
# patched, with our kernels, as PTX for compute capability 6.1, whose code has no tensor cores and compiles fastest. Nothing is timed.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
emulated=0
[[ ${1:-} == --emulated ]] && emulated=1 && shift
[[ $# == 1 && $1 != -* ]] || { sed -n '2,22s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 1
if ((emulated)); then
    gpu="Emulated CUDA device, no driver, 8.0" name="the emulated CUDA device" arch=61 code=virtual YAPO_CUDA_FLASH=${YAPO_CUDA_FLASH:-0}
else
    command -v nvidia-smi >/dev/null && gpu=$(nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader | head -1) || { echo "verify-cuda: nvidia-smi found no GPU; --emulated does without one" >&2; exit 1; }
    name=${gpu%%,*} arch=$(tr -d ' .' <<<"${gpu##*,}") code=real
fi
command -v nvcc >/dev/null || PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || { echo "verify-cuda: no nvcc on the PATH: install the CUDA toolkit" >&2; exit 1; }
toolkit=$(nvcc --version | sed -n 's/.*release \([^,]*\),.*/\1/p') jobs=${YAPO_JOBS:-$(nproc)}
build=$root/artifacts/native/cuda
echo "verify-cuda: $gpu; toolkit $toolkit; $jobs jobs"

options=(-DCMAKE_CUDA_ARCHITECTURES="$arch-$code")
targets=(yapo-native-tests)
((emulated)) && targets+=(yapo-cuda-emulator)
if [[ ${YAPO_CUDA_FLASH:-1} == 1 ]]; then options+=(-DGGML_CUDA_FA=ON); else options+=(-DGGML_CUDA_FA=OFF); fi # said each time: CMake remembers
[[ -z ${YAPO_LLAMA_CPP_DIR:-} ]] || options+=(-DYAPO_LLAMA_CPP_DIR="$YAPO_LLAMA_CPP_DIR")
command -v ninja >/dev/null && [[ ! -e $build/CMakeCache.txt ]] && options+=(-G Ninja)
start=$SECONDS
{ cmake --preset cuda -S "$root" "${options[@]}" && cmake --build "$build" --target "${targets[@]}" --parallel "$jobs"; } >"$out/build.log" 2>&1 ||
    { tail -30 "$out/build.log" >&2; echo "verify-cuda: the build failed; all of it in $out/build.log" >&2; exit 1; }
built=$((SECONDS - start)) tests=$build/stage/yapo-native-tests
echo "verify-cuda: built in $built s"
((emulated)) && export LD_LIBRARY_PATH=$build/cuda-emulator/${toolkit%%.*}

failed=() passed=0
: >"$out/tests.log"
for case in $("$tests" --list | grep -v '_Speed$' | grep -E '^(Cuda_|CudaGraphs_|CudaTwin_|Device_|Fused_|Kernel_|Batch_|Graphs_|Identity_|Readout_|FullSae_|Capture_|TrainUpper_Device_)'); do
    echo "== $case" >>"$out/tests.log"
    if YAPO_TEST_DEVICE=CUDA0 timeout 300 "$tests" --run "$case" >>"$out/tests.log" 2>&1; then passed=$((passed + 1)); else failed+=("$case"); fi
done
echo "verify-cuda: $passed cases passed, ${#failed[@]} not${failed[*]:+: ${failed[*]}}"
proof=$(awk '/^== /{of = $2 == "CudaGraphs_StrengthsChange_TheGraphStaysCaptured"} of && /warm-ups|counted:/{sub(/^ */, ""); print}' "$out/tests.log")

if ((!emulated)); then
    for case in Cuda_Kernels_Speed Cuda_SteeredModel_Speed; do
        YAPO_BENCHMARK=1 timeout 900 "$tests" --run $case >"$out/$case.log" 2>&1 || failed+=("$case")
        sed -n 's/^ *\({".*}\)$/\1/p' "$out/$case.log" >"$out/$case.jsonl"
    done
    # Gradients through one block of Gemma-2-2B's width, 256 tokens: the log says what a step takes on the CPU and on the GPU.
    YAPO_TEST_DEVICE=CUDA0 YAPO_BENCHMARK=1 REAL=1 TOKENS=256 REPEATS=5 timeout 900 "$tests" --run TrainUpper_Speed >"$out/TrainUpper_Speed.log" 2>&1 || failed+=(TrainUpper_Speed)
    if command -v dotnet >/dev/null && [[ -n ${YAPO_MODEL:-} ]]; then
        YapoPreset=cuda dotnet run -c Release --project "$root/src/YaPO.Llama.Cli" -- bench steering --model "$YAPO_MODEL" --json >"$out/bench.json" 2>"$out/bench.log" || failed+=(bench)
    fi
fi

list() { [[ ! -e $1 ]] || paste -sd, "$1"; } # lines of JSON as the inside of an array
quoted() { local item first=1; for item in "$@"; do ((first)) || printf ', '; first=0; printf '"%s"' "$item"; done; }
commit=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
printf '{"gpu": "%s", "toolkit": "%s", "commit": "%s", "date": "%s", "build_seconds": %d, "passed": %d, "failed": [%s], "graphs": [%s],\n "kernels": [%s],\n "model": [%s]}\n' \
    "$gpu" "$toolkit" "$commit" "$(date -u +%F)" "$built" "$passed" "$(quoted "${failed[@]}")" \
    "$(readarray -t lines <<<"$proof"; quoted "${lines[@]}")" "$(list "$out/Cuda_Kernels_Speed.jsonl")" "$(list "$out/Cuda_SteeredModel_Speed.jsonl")" >"$out/cuda.json"
field() { sed -n "s/.*\"$2\": \"\{0,1\}\([^,}\"]*\).*/\1/p" <<<"$1"; }
{
    printf '# Steering on %s\n\nDriver and compute capability: %s. Toolkit %s, commit %s, %s. Built in %d s.\n\n' "$name" "${gpu#*, }" "$toolkit" "$commit" "$(date -u +%F)" "$built"
    printf '%d cases passed, %d not%s.\n\n' "$passed" "${#failed[@]}" "${failed[*]:+: ${failed[*]}}"
    printf 'CUDA graphs while strengths change at every token:\n\n```text\n%s\n```\n\n' "$proof"
    if ((!emulated)); then
        printf '## The kernels alone (D = 2304, F16 decoder rows)\n\n| K | tokens | µs | row bytes, GB/s | GFLOP/s |\n|---|---|---|---|---|\n'
        while read -r line; do printf '| %s | %s | %s | %s | %s |\n' "$(field "$line" k)" "$(field "$line" tokens)" "$(field "$line" us)" "$(field "$line" row_gbytes_per_s)" "$(field "$line" gflops)"; done <"$out/Cuda_Kernels_Speed.jsonl"
        printf '\n## A model of Gemma-2-2B'"'"'s width, Q8_0, %s of 26 blocks; medians of ratios within rounds\n\n| arm | prefill ms | ratio | decode ms | ratio |\n|---|---|---|---|---|\n' "${YAPO_LAYERS:-8}"
        while read -r line; do
            arm=$(sed 's/.*"arm": "\([^"]*\)".*/\1/' <<<"$line")
            printf '| %s | %s | %s | %s | %s |\n' "$arm" "$(field "$line" prefill_ms)" "$(field "$line" prefill_ratio)" "$(field "$line" decode_ms)" "$(field "$line" decode_ratio)"
        done <"$out/Cuda_SteeredModel_Speed.jsonl"
    fi
} >"$out/cuda.md"
echo "verify-cuda: wrote $out/cuda.md and $out/cuda.json"
((${#failed[@]} == 0))
