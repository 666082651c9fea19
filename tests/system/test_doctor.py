from __future__ import annotations

import copy
import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tmi.cli.doctor import doctor as command
from tmi.config import preset_description, preset_names
from tmi.system import doctor

PYPROJECT = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return doctor.examine()


def package(facts: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in facts["packages"] if entry["name"] == name)


def requirements(key: str) -> set[tuple[str, str]]:
    (listed,) = re.findall(rf"^{key} = \[(.*?)\]", PYPROJECT, re.MULTILINE | re.DOTALL)
    return set(re.findall(r'"([\w-]+)>=([\d.]+)', listed))


@pytest.mark.parametrize(("key", "extra"), [("dependencies", ""), ("data", "data"), ("cluster", "cluster")])
def test_every_dependency_is_looked_for_at_its_least_version(key: str, extra: str) -> None:
    looked_for = {(entry.name, entry.least) for entry in doctor.DEPENDENCIES if entry.extra == extra}
    assert looked_for == requirements(key)
    assert looked_for


def test_the_presets_for_accelerators_are_those_that_say_so() -> None:
    saying = {name for name in preset_names() if "accelerator" in preset_description(name)}
    assert saying == set(doctor.PRESETS_FOR_ACCELERATORS)


def test_this_installation_has_no_problems(facts: dict[str, Any]) -> None:
    assert facts["problems"] == []
    assert facts["tmi"]["error"] is None
    assert "abi3" in facts["tmi"]["build"]
    assert package(facts, "torch")["version"] == metadata.version("torch")
    assert facts["torch"]["devices"][0]["name"] == "cpu"
    assert 1 <= facts["cores"]["available"] <= facts["cores"]["present"]
    assert facts["memory"]["total"] > 1 << 28


def test_problems_end_in_exit_code_2(facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: facts | {"problems": ["torch is not installed."]})
    ended = CliRunner().invoke(command)
    assert ended.exit_code == 2
    assert "torch is not installed." in ended.output
    assert "Everything" not in ended.output
    monkeypatch.setattr(doctor, "examine", lambda: facts)
    assert CliRunner().invoke(command).exit_code == 0


def test_json_goes_to_a_file_or_alone_to_the_terminal(
    facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: facts)
    assert json.loads(CliRunner().invoke(command, ["--json"]).output) == facts
    printed = CliRunner().invoke(command, ["--json", str(tmp_path / "facts.json")]).output
    assert json.loads((tmp_path / "facts.json").read_text()) == facts
    assert "lightgbm" in printed
    assert not printed.startswith("{")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": None}, r"lightgbm is not installed, .*pip install \"lightgbm>=4.3\""),
        ({"version": "3.9", "too_old": True}, "lightgbm is 3.9, expected 4.3 or later"),
        ({"error": "OSError: libgomp.so.1: no such file"}, "lightgbm .*cannot be imported: OSError: libgomp"),
    ],
)
def test_a_needed_package_that_is_missing_old_or_broken_is_a_problem(
    facts: dict[str, Any], change: dict[str, Any], sentence: str
) -> None:
    changed = copy.deepcopy(facts)
    package(changed, "lightgbm").update(change)
    (problem,) = doctor.problems(changed)
    assert re.search(sentence, problem)


def test_a_missing_optional_package_is_a_note_with_its_command(facts: dict[str, Any]) -> None:
    changed = copy.deepcopy(facts)
    package(changed, "pyarrow")["version"] = None
    assert doctor.problems(changed) == []
    assert any('no sources parquet:FILE; run pip install "tmi-audit[data]"' in note for note in doctor.notes(changed))


def test_torch_that_fails_to_import_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises ImportError
    monkeypatch.delitem(sys.modules, "tmi.system.devices", raising=False)
    found = doctor.examine()
    assert found["torch"] is None
    assert [problem for problem in found["problems"] if problem.startswith("torch is installed but cannot be imported")]
    assert any("--predictions" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("key", "value", "note"),
    [
        ("cores", {"present": 8, "available": 1, "limit": None}, "1 core:"),
        ("cores", {"present": 8, "available": 8, "limit": 2.5}, "--workers says otherwise, 2 are started"),
        ("threads", {"OMP_NUM_THREADS": 512}, "OMP_NUM_THREADS is 512"),
        ("memory", {"total": 64 << 30, "limit": 1 << 30}, "1.0 GiB of memory"),
        ("disk_free", 1 << 29, "0.5 GiB free"),
        ("simd", {"architecture": "x86_64", "kernels": "SSE2"}, "no AVX2"),
    ],
)
def test_what_would_be_slow_is_noted(facts: dict[str, Any], key: str, value: Any, note: str) -> None:
    plenty = facts | {
        "cores": {"present": 8, "available": 8, "limit": None},
        "threads": {"OMP_NUM_THREADS": 1},
        "memory": {"total": 64 << 30, "limit": None},
        "disk_free": 1 << 40,
        "simd": {"architecture": "x86_64", "kernels": "AVX2"},
    }
    assert not any(note in sentence for sentence in doctor.notes(plenty))
    assert any(note in sentence for sentence in doctor.notes(plenty | {key: value}))


def test_an_accelerator_silences_its_note(facts: dict[str, Any]) -> None:
    cpu = {"name": "cpu", "model": "x86_64", "memory": None, "automatic_precision": "bfloat16"}
    gpu = cpu | {"name": "cuda:0", "model": "A card", "memory": 80 << 30}
    without = facts | {"torch": facts["torch"] | {"devices": [cpu], "nvidia_driver": True, "cuda": None}}
    told = " ".join(doctor.notes(without))
    assert "No accelerator" in told
    assert "built without CUDA, sees no device" in told
    with_one = facts | {"torch": facts["torch"] | {"devices": [cpu, gpu]}}
    assert "accelerator" not in " ".join(doctor.notes(with_one))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_limits_of_control_groups_2_are_the_least_of_all_above(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/box\n",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/memory.max": "max\n",
            "sys/fs/cgroup/pod/box/memory.max": "1073741824\n",
            "sys/fs/cgroup/other/cpu.max": "1000 100000\n",
        },
    )
    assert doctor.core_limit(root) == 1.5
    assert doctor.memory_limit(root) == 1 << 30


def test_limits_of_control_groups_1(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert doctor.core_limit(root) == 0.5
    assert doctor.memory_limit(root) is None
    assert doctor.core_limit(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("features", "architecture", "level"),
    [
        ({"avx2", "avx512f", "avx512vl", "avx512dq", "avx512bw"}, "x86_64", "AVX-512"),
        ({"avx2", "avx512f"}, "x86_64", "AVX2"),
        ({"sse4_2"}, "x86_64", "SSE2"),
        (set(), "arm64", "NEON"),
    ],
)
def test_the_level_of_the_kernels(features: set[str], architecture: str, level: str) -> None:
    assert doctor.kernel_level(features, architecture) == level


def test_the_levels_are_those_that_the_kernels_are_compiled_for() -> None:
    kernels = Path(__file__).parents[2] / "rust" / "kernels" / "src"
    targets = set(re.findall(r'"x86_64\+([\w+]+)"', "".join(file.read_text() for file in kernels.rglob("*.rs"))))
    needed = {level: set[str]() for level in doctor.LEVELS}
    for target in targets:
        features = set(target.split("+"))
        needed["AVX-512" if "avx512f" in features else "AVX2"] |= features
    assert needed == {level: set(features) for level, features in doctor.LEVELS.items()}


def test_nothing_of_the_environment_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "alice"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "sk-secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "cache"))
    found = doctor.examine(tmp_path)
    text = json.dumps(found)
    assert "secret" not in text
    assert "alice" not in text
    assert found["hub"]["cache"] == f"~{os.sep}cache"
    assert "OMP_NUM_THREADS is set, but is no number." in found["notes"]


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.8.0+cpu", (2, 8)), ("0.17rc1", (0, 17)), ("5.0", (5,)), ("2.10", (2, 10))]
)
def test_versions_are_compared_by_their_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert doctor._release(text) == numbers
