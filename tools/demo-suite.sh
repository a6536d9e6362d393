#!/usr/bin/env bash
# The whole evaluation on one demo world: every vector against its controls, the behaviours, the quantization matrix, tune, and the four methods side by
# side, which takes longest. One report each, as HTML and as JSON, and a summary of what each says first. Settings are those of the commands; strengths are
# chosen on validation, test is measured once. A stopped run goes on where it was.
#   tools/demo-suite.sh WORLD OUTPUT          WORLD: a folder that `demo-world build` made
set -euo pipefail
if (($# != 2)) || [[ ! -f $1/sae.gguf ]]; then
    sed -n '2,5s/^# *//p' "$0" >&2
    exit 2
fi
repository=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$2"
out=$(realpath --relative-to="$1" "$2") # reports name files as they are named here: no folder of this machine
cd "$1"
data=data
cli=$repository/src/YaPO.Llama.Cli/bin/Release/net10.0/yapo-llama.dll
[[ -f $cli ]] || dotnet build -c Release "$repository/src/YaPO.Llama.Cli"

# run NAME COMMAND...: skips what is there; a report appears only when its command has ended well.
run() {
    local name=$1
    shift
    if [[ ! -f $out/$name.html ]]; then
        echo "== $name: yapo-llama $*" >&2
        local start=$SECONDS
        dotnet "$cli" "$@" --json --report "$out/$name.html" >"$out/$name.json"
        echo "== $name: $((SECONDS - start)) s" >&2
        echo "$((SECONDS - start))" >"$out/$name.seconds"
    fi
}

model=(--model "demo-f16.gguf")
knowledge=(--knowledge "$data/knowledge-test.jsonl" --validation-knowledge "$data/knowledge-validation.jsonl" --neutral "$data/knowledge-validation.jsonl")
questions=(--validation "$data/questions-validation.jsonl")
test=$out/test.jsonl # questions that name no country, then the same topics with each country named: the localized gap takes both
cat "$data/questions-test.jsonl" "$data/localized-test.jsonl" >"$test"
for culture in egypt morocco portugal brazil; do
    run "vector-$culture" eval mcq "${model[@]}" --vector "vectors/$culture.ysv" --sae "sae.gguf" --data "$test" "${questions[@]}" "${knowledge[@]}" \
        --train-data "$data/pairs-$culture-train.jsonl" --prompt-only "Think of ${culture^}." --refusals "$data/refusal-test.jsonl"
done
for behaviour in abstain refusal; do
    run "behaviour-$behaviour" eval behaviour "${model[@]}" --vector "vectors/$behaviour.ysv" --sae "sae.gguf" --data "$data/$behaviour-test.jsonl" \
        --validation "$data/$behaviour-validation.jsonl" --train-data "$data/pairs-$behaviour-train.jsonl" "${knowledge[@]}" --max-tokens 48
done
run transfer eval transfer "${model[@]}" --model "demo-q8_0.gguf" --model "demo-q4_k_m.gguf" --sae "sae.gguf" --data "$data/pairs-egypt-train.jsonl" \
    --validation-data "$data/pairs-egypt-validation.jsonl" "${questions[@]}" --test "$test" \
    --validation-knowledge "$data/knowledge-validation.jsonl" --neutral "$data/knowledge-validation.jsonl" --label egypt --checkpoint "$out/.transfer" --resume
run tune tune "${model[@]}" --sae "sae.gguf" --data "$data/pairs-egypt-train.jsonl" --validation-data "$data/pairs-egypt-validation.jsonl" \
    "${questions[@]}" --test "$test" --validation-knowledge "$data/knowledge-validation.jsonl" --neutral "$data/knowledge-validation.jsonl" --label egypt --prompt-only "Think of Egypt." \
    --output "$out/tuned-egypt.ysv" --checkpoint "$out/.tune" --resume
sets=()
for culture in egypt morocco portugal brazil; do
    sets+=(--data "$data/pairs-$culture-train.jsonl" --validation-data "$data/pairs-$culture-validation.jsonl" --label "$culture")
done
run methods eval methods "${model[@]}" --sae "sae.gguf" "${sets[@]}" --test "$test" "${questions[@]}" "${knowledge[@]}" \
    --prompt-only "Think of {Label}." --seeds 3 --checkpoint "$out/.methods" --resume

{
    printf '| report | seconds, of its last start | what it says first |\n|---|---|---|\n'
    for report in "$out"/*.html; do
        name=$(basename "$report" .html)
        lead=$(grep -m1 -o '<p class="lead">.*</p>' "$report" | sed 's/<[^>]*>//g; s/|/\\|/g')
        printf '| [%s](%s.html) | %s | %s |\n' "$name" "$name" "$(cat "$out/$name.seconds")" "$lead"
    done
} >"$out/summary.md"
cat "$out/summary.md"
