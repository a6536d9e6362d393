#!/usr/bin/env bash
# From downloaded files to a trained vector of Gemma-2-2B-it and its report (docs/gemma.md).
#
#   tools/gemma-walkthrough.sh FOLDER
#
# FOLDER holds, before the start:
#   gemma-2-2b-it-Q4_K_M.gguf                                    any GGUF of the model: MODEL=file.gguf
#   gemma-scope-2b-pt-res/layer_15/width_16k/average_l0_78/params.npz    SAE=path
#   pairs-train.jsonl, pairs-validation.jsonl                    {"prompt", "chosen"[, "rejected"]}; TRAIN=, VALIDATION=
#   questions-validation.jsonl, questions-test.jsonl             optional: eval mcq with strength chosen on the first
#   neutral.txt                                                  optional: text the vector is not about, for the KL
#   SHA256SUMS                                                   optional: sums to check; written when absent
# YAPO names the program (default: yapo-llama where it is on the PATH, else what 'dotnet build -c Release' made here), TRAIN_OPTIONS and EVAL_OPTIONS are passed on. Every step that is done is skipped when the
# script is run again; training goes on from its checkpoint.
set -euo pipefail
(($# == 1)) || { sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2; }
built=$(cd "$(dirname "$0")/.." && pwd)/src/YaPO.Llama.Cli/bin/Release/net10.0/yapo-llama.dll
cd "$1"
yapo=${YAPO:-yapo-llama}
if [[ -z ${YAPO:-} ]] && ! command -v yapo-llama > /dev/null; then
    [[ -e $built ]] || { echo "walk-through: yapo-llama is not on the PATH, and $built is not there: 'dotnet build -c Release' makes it, or YAPO=PROGRAM names another" >&2; exit 3; }
    yapo-llama() { dotnet "$built" "$@"; }
fi
model=${MODEL:-gemma-2-2b-it-Q4_K_M.gguf}
sae=${SAE:-gemma-scope-2b-pt-res/layer_15/width_16k/average_l0_78/params.npz}
train=${TRAIN:-pairs-train.jsonl}
validation=${VALIDATION:-pairs-validation.jsonl}
say() { printf '\n== %s\n' "$*"; }
for file in "$model" "$sae" "$train" "$validation"; do
    [[ -e $file ]] || { echo "walk-through: $file is missing in $PWD" >&2; exit 3; }
done

say "1. checksums"
if [[ -e SHA256SUMS ]]; then
    sha256sum --check --strict SHA256SUMS
else
    sha256sum "$model" "$sae" | tee SHA256SUMS.new
    mv SHA256SUMS.new SHA256SUMS
    echo "Compare these with the SHA-256 that the files' pages show (Hugging Face: 'Copy download link' row, LFS details). Later runs check against SHA256SUMS."
fi

say "2. the model, and which of its blocks can be steered"
$yapo model info "$model"
$yapo doctor --model "$model"

say "3. the SAE as GGUF, checked on this model (explained variance, active latents against the published number)"
[[ -e sae.gguf ]] || $yapo sae convert --input "$sae" ${SAE_OPTIONS:-} --model "$model" --output sae.gguf
$yapo sae info sae.gguf

say "4. rejected answers: the model's own"
for part in train validation; do
    source=$train; [[ $part == validation ]] && source=$validation
    [[ -e pairs-$part.ready.jsonl ]] && continue
    if head -1 "$source" | grep -q '"rejected"'; then
        cp "$source" "pairs-$part.ready.jsonl.new"
    else
        $yapo data rejected --model "$model" --input "$source" --output "pairs-$part.generated.jsonl"
        cp "pairs-$part.generated.jsonl" "pairs-$part.ready.jsonl.new"
    fi
    mv "pairs-$part.ready.jsonl.new" "pairs-$part.ready.jsonl"
done

say "5. time and memory, measured on one pair"
run=(train --method yapo --model "$model" --sae sae.gguf --data pairs-train.ready.jsonl --validation-data pairs-validation.ready.jsonl --output learned.ysv ${TRAIN_OPTIONS:-})
$yapo "${run[@]}" --dry-run

say "6. training"
if [[ ! -e learned.ysv ]]; then
    resume=(); [[ -d run && -n $(ls -A run) ]] && resume=(--resume)
    $yapo "${run[@]}" --checkpoint run --log training.jsonl --report training.html "${resume[@]}"
fi
$yapo vector info learned.ysv
$yapo vector verify learned.ysv --model "$model" --sae sae.gguf

say "7. did it work?"
neutral=(); [[ -e neutral.txt ]] && neutral=(--neutral neutral.txt)
$yapo eval preference --model "$model" --vector learned.ysv --data pairs-validation.ready.jsonl --sae sae.gguf "${neutral[@]}" --report preference.html ${EVAL_OPTIONS:-}
if [[ -e questions-test.jsonl && -e questions-validation.jsonl ]]; then
    $yapo eval mcq --model "$model" --vector learned.ysv --data questions-test.jsonl --validation questions-validation.jsonl --sae sae.gguf "${neutral[@]}" --report questions.html ${EVAL_OPTIONS:-}
fi

say "done: $PWD/learned.ysv, training.html, preference.html. Try it: $yapo chat --model $model --vector learned.ysv"
