#!/usr/bin/env bash
# Tests and times training on an accelerator: on a bare machine with a GPU, Python and a folder of wheels, in 6 minutes.
#
#   scripts/accelerator.sh --wheels DIRECTORY [--device cuda|cpu] [--data DIRECTORY] [--out DIRECTORY]
#                          [--python PYTHON] [--system-site-packages]
#
# It installs into an environment of its own without any network, runs tests/accelerator, times `tmi bench train` for
# three presets and a whole `tmi attack cifar100-coarse` of 8 models and 3 epochs, and writes accelerator.json and
# accelerator.md, the part of docs/performance.md, into --out (default: accelerator/).
#
# --wheels    the wheel of this version, and all that it and the tests need:
#                 pip wheel --wheel-dir wheels . 'pytest>=8' 'hypothesis>=6.100'
# --data      the folder of CIFAR-100; without it images are made up: as fast, but nothing can be learned from them
# --device    cpu: everything in small, to try the script itself
# --system-site-packages   take what PYTHON has already, for instance its torch, and only the rest from the wheels
set -euo pipefail

device=cuda data="" out=accelerator python=python3 wheels="" site=()
while (($#)); do
    case $1 in
        --wheels) wheels=$2; shift ;;
        --device) device=$2; shift ;;
        --data) data=$2; shift ;;
        --out) out=$2; shift ;;
        --python) python=$2; shift ;;
        --system-site-packages) site=("$1") ;;
        *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
    esac
    shift
done
[[ -d $wheels ]] || { echo "--wheels '$wheels' is no directory, expected the folder of wheels" >&2; exit 2; }

# Seconds for everything, and how much is done: enough to tell, with a reserve for slow starts.
limit=360
if [[ $device == cpu ]]; then
    limit=1800
    bench=(--models 1 --points 64 --epochs 1 --repeat 1)
    attack=(--models 4 --set pool.size=120 --set downstream.size=120 --set downstream.points_per_model=60
        --set pool.challenge_points=60 --set pretrain.epochs=1 --set finetune.epochs=2 --set query.count=2
        --set 'model.settings={depths=[1,1],hidden_sizes=[8,16],embedding_size=8}' --set model.stem=small
        --set evaluation.resamples=100)
    images="400 200"
else
    bench=(--models 8 --points 8192 --epochs 1 --repeat 2)
    attack=(--models 8 --set pretrain.epochs=3)
    images="50000 10000"
fi

checkout=$(cd "$(dirname "$0")/.." && pwd)
wheels=$(cd "$wheels" && pwd)
[[ -z $data ]] || data=$(cd "$data" && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH

"$python" -m venv ${site[@]+"${site[@]}"} "$work/environment"
bin=$work/environment/bin
# Without compiling all modules of all packages, most of which are never imported.
"$bin/python" -m pip install --quiet --no-compile --no-index --find-links "$wheels" tmi-audit 'pytest>=8' 'hypothesis>=6.100'
installed=$SECONDS
echo "installed in $installed s"
"$bin/tmi" doctor --json "$out/machine.json" || true

# Each step may take what is left of the time; one that fails is written down, and the next one is tried.
: >"$work/steps.tsv"
step() {
    local name=$1 started=$SECONDS code=0
    shift
    echo "+ $*"
    timeout "$((limit > SECONDS ? limit - SECONDS : 1))" "$@" >"$out/$name.txt" 2>&1 || code=$?
    printf '%s\t%s\t%s\n' "$name" "$code" "$((SECONDS - started))" >>"$work/steps.tsv"
    tail -n 3 "$out/$name.txt"
}

# The most memory of the device that is in use, looked at five times a second.
if [[ $device != cpu ]] && command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --loop-ms=200 >"$work/memory.txt" &
    trap 'kill %1 2>/dev/null || true; rm -rf "$work"' EXIT
fi

cd "$checkout"
TMI_DEVICE=$device step tests "$bin/python" -m pytest -q -p no:cacheprovider tests/accelerator
cd "$work"
for preset in cifar100-coarse cifar100-coarse-small wikipedia-dbpedia; do
    step "bench-$preset" "$bin/tmi" bench train "$preset" --device "$device" "${bench[@]}" --json "$out/bench-$preset.json"
done
if [[ -z $data ]]; then
    data=$work/data
    "$bin/python" - "$data" $images <<'PYTHON'
import pathlib
import sys

import numpy

folder = pathlib.Path(sys.argv[1]) / "cifar-100-binary"
folder.mkdir(parents=True)
draw = numpy.random.default_rng(0)
for name, images in zip(("train", "test"), map(int, sys.argv[2:])):
    records = draw.integers(0, 256, (images, 3074), dtype=numpy.uint8)
    # Every class as often as any other: a coarse one of 20 and, within it, a fine one of 100.
    records[:, 1] = numpy.arange(images) % 100
    records[:, 0] = records[:, 1] // 5
    records.tofile(folder / f"{name}.bin")
PYTHON
fi
step attack "$bin/tmi" attack cifar100-coarse --data "$data" --device "$device" --targets 2 --out "$work/run" "${attack[@]}"

"$bin/python" - "$out" "$work" "$device" "$installed" "$SECONDS" <<'PYTHON'
import json
import pathlib
import statistics
import sys

out, work = map(pathlib.Path, sys.argv[1:3])
device, installed, seconds = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
steps = {}
for line in (work / "steps.tsv").read_text().splitlines():
    name, code, taken = line.split("\t")
    last = (out / f"{name}.txt").read_text(errors="replace").strip().splitlines()[-1:]
    steps[name] = {"exit_code": int(code), "seconds": int(taken), "last_line": "".join(last)}
machine = json.loads((out / "machine.json").read_text()) if (out / "machine.json").exists() else {}
benches = [json.loads(path.read_text()) for path in sorted(out.glob("bench-*.json")) if steps.get(path.stem)]
memory = work / "memory.txt"
used = [int(line) for line in memory.read_text().split() if line.isdigit()] if memory.exists() else []
results = work / "run" / "results.json"
document = {
    "device": device,
    "machine": machine,
    "seconds": {"installation": installed, "everything": seconds},
    "most_memory_in_use_mib": max(used, default=None),
    "steps": steps,
    "bench": benches,
    "attack": json.loads(results.read_text()) if results.exists() else None,
}
(out / "accelerator.json").write_text(json.dumps(document, indent=2) + "\n")

named = [one.get("model") or one["name"] for one in (machine.get("torch") or {"devices": []})["devices"]]
lines = [
    f"`scripts/accelerator.sh --device {device}` on {', '.join(map(str, named)) or 'an unknown machine'}, {seconds} s "
    f"in all, {installed} of them for the installation.",
    "",
    "| step | exit code | seconds | |",
    "|---|---:|---:|---|",
    *(
        f"| {name} | {one['exit_code']} | {one['seconds']} | "
        f"{one['last_line'].strip('= ') if name == 'tests' or one['exit_code'] else ''} |"
        for name, one in steps.items()
    ),
    "",
    "| preset | rival | tmi | ratio |",
    "|---|---:|---:|---:|",
]
for bench in benches:
    unit = "tokens" if bench["rounds"][0][1]["tokens"] else "samples"
    rates = [[one[unit] / one["seconds"] for one in both] for both in bench["rounds"]]
    plain, fast, ratio = (
        statistics.median(values) for values in (*zip(*rates), [ours / others for others, ours in rates])
    )
    size = f"{bench['models']} models × {bench['points']:,} × {bench['epochs']}"
    lines.append(f"| `{bench['preset']}` ({size}) | {plain:,.0f} {unit}/s | {fast:,.0f} {unit}/s | {ratio:.2f} |")
if used:
    lines += ["", f"At most {max(used):,} MiB of the device's memory were in use."]
(out / "accelerator.md").write_text("\n".join(lines) + "\n")
print("\n".join(lines))
sys.exit(any(one["exit_code"] for one in steps.values()))
PYTHON
