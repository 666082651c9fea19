#!/usr/bin/env bash
# Installs a wheel as a user would (an empty environment, no compiler, away from the checkout) and uses every command.
#
#   scripts/wheel_test.sh DIRECTORY_OF_WHEELS [PYTHON]
#
# TMI_WHEEL_TEST_PRESETS  presets to run (default: digits pydoc)
# TMI_WHEEL_TEST_OPTIONS  options of `tmi attack`, to keep it short: "--models 8 --set pretrain.epochs=3"
# TMI_WHEEL_TEST_ENV      an environment with the dependencies, used instead of an empty one
# PIP_CONSTRAINT, PIP_EXTRA_INDEX_URL and pip's other variables hold as always.
set -euo pipefail

wheels=$(cd "$1" && pwd)
python=${2:-python3}
presets=${TMI_WHEEL_TEST_PRESETS:-digits pydoc}
read -r -a options <<<"${TMI_WHEEL_TEST_OPTIONS:-}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Whatever asks for a Rust compiler fails.
mkdir stubs
for tool in cargo rustc; do
    printf '#!/bin/sh\necho "a wheel needs no %s" >&2\nexit 1\n' "$tool" >"stubs/$tool"
    chmod +x "stubs/$tool"
done
PATH=$work/stubs:$PATH

environment=${TMI_WHEEL_TEST_ENV:-$work/environment}
[[ -e $environment ]] || "$python" -m venv "$environment"
bin=$environment/bin
[[ -d $bin ]] || bin=$environment/Scripts # Windows
unset PYTHONPATH

started=$SECONDS
# First the wheel that pip finds fit for this machine, which must be one of ours; then what it depends on.
"$bin/python" -m pip install --quiet --no-index --find-links "$wheels" --no-deps --force-reinstall tmi-audit
"$bin/python" -m pip install --quiet --only-binary=:all: tmi-audit
"$bin/python" -m pip check
echo "installed in $((SECONDS - started)) s"
"$bin/python" - <<'PYTHON'
import pathlib
import sysconfig

import tmi

packages = pathlib.Path(sysconfig.get_path("purelib")).resolve()
assert packages in pathlib.Path(tmi.__file__).resolve().parents, tmi.__file__
size = sum(path.lstat().st_size for path in packages.rglob("*") if path.is_file())
print(f"tmi {tmi.__version__} in {packages}: {size / 1e9:.2f} GB with its dependencies")
PYTHON

tmi() {
    echo "+ tmi $*"
    "$bin/tmi" "$@" >output.txt 2>&1 || { cat output.txt; return 1; }
}

tmi --version
tmi --help
commands=$("$bin/python" -c 'from tmi.cli import tmi; print(*tmi.commands)')
for command in $commands; do
    tmi "$command" --help
done
tmi presets
for preset in $("$bin/python" -c 'from tmi.config import preset_names; print(*preset_names())'); do
    tmi presets show "$preset"
done
tmi attacks
tmi bench --models 9 --points 50 --repeat 1

for preset in $presets; do
    started=$SECONDS
    tmi attack "$preset" --out "$preset" ${options[@]+"${options[@]}"}
    test -s "$preset/report.html" -a -s "$preset/results.json"
    tmi score "$preset"
    tmi report "$preset"
    echo "tmi attack $preset: $((SECONDS - started)) s"
done
run=${presets%% *}
tmi compare "$run" "$run"
tmi check "$run"

# Saved predictions: random logits, so that there is nothing to find.
"$bin/python" - <<'PYTHON'
import numpy

draw = numpy.random.default_rng(0)
predictions, membership = draw.normal(size=(16, 60, 1, 5)).astype("float32"), draw.random((16, 60)) < 0.5
numpy.savez("saved.npz", predictions=predictions, membership=membership)
PYTHON
tmi check saved.npz
tmi convert saved.npz --out converted
tmi attack --predictions converted --out saved
test -s saved/report.html
echo "the wheel works"
