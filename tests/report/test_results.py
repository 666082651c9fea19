"""results.json as typed tables: written and read in one place, older files read, others refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from made.results import as_saved, changed, make_results, with_target
from made.variants import make_seven
from tmi.errors import TmiError
from tmi.report.results import Results
from tmi.report.tables import InputNote


def made() -> list[Results]:
    plain = make_results({"tmi": 0.6, "adapted-lira": 0.3, "direct": 1.0})
    return [plain, as_saved(plain), with_target(plain), make_seven()]


@pytest.mark.parametrize("results", made())
def test_what_is_saved_is_loaded_and_the_same_bytes_again(results: Results, tmp_path: Path) -> None:
    results.save(path := tmp_path / "results.json")
    loaded = Results.load(path)
    assert loaded == results
    loaded.save(again := tmp_path / "again.json")
    assert again.read_bytes() == path.read_bytes()


def test_only_what_is_there_is_written() -> None:
    results = make_results({"tmi": 0.6})
    assert not {"notes", "target", "views", "shadows", "variants", "together"} & set(results.to_dict())
    assert "pool" not in as_saved(results).to_dict()["data"]
    assert results.to_dict()["models"]["given"] is None
    note = InputNote(level="warning", text="Members and non-members differ by themselves.")
    noted = results.model_copy(update={"notes": [note]})
    assert noted.to_dict()["notes"] == [{"level": "warning", "text": note.text}]
    assert Results.of(noted.to_dict()) == noted


def test_files_of_earlier_versions_are_read() -> None:
    document = make_results({"gaussian": 0.1, "confidence": 0.9}).to_dict()
    assert document.pop("headline") == "gaussian"
    del document["view"]
    document["attacks"]["gaussian"]["epsilon"]["threshold"] = 2.0
    results = Results.of(document)
    assert (results.headline, results.view) == ("gaussian", "logits")


def test_direct_access_was_called_an_upper_bound() -> None:
    document = make_seven().to_dict()
    text = json.dumps(document).replace('"direct_access"', '"upper_bound"')
    assert text != json.dumps(document)
    assert Results.of(json.loads(text)).to_dict() == document


def without(*path: str) -> dict[str, Any]:
    document = make_results({"tmi": 0.6}).to_dict()
    table = document
    for key in path[:-1]:
        table = table[key]
    del table[path[-1]]
    return document


def test_a_file_that_does_not_fit_is_refused_by_name_and_key(tmp_path: Path) -> None:
    document = make_results({"tmi": 0.6}).to_dict()
    path = tmp_path / "results.json"

    def refused(content: str) -> str:
        path.write_text(content)
        with pytest.raises(TmiError) as error:
            Results.load(path)
        return str(error.value).removeprefix(f"{path}")

    assert refused("[]") == " is no JSON object, expected results of tmi"
    assert refused(json.dumps(document | {"schema": 2})) == ": the key 'schema' is 2, expected 1"
    assert refused(json.dumps(without("attacks", "tmi", "auc"))).startswith(": the key 'attacks.tmi.auc' is missing")
    assert refused(json.dumps(document | {"mood": 1})).startswith(": unknown key 'mood'")
    document["attacks"]["tmi"]["auc"]["mood"] = 1
    assert refused(json.dumps(document)).startswith(": unknown key 'attacks.tmi.auc.mood'")
    del document["attacks"]["tmi"]["auc"]["mood"]
    assert refused(json.dumps(document | {"seed": "x"})).startswith(": the key 'seed' is 'x': input should be a valid")
    assert "expected one of tmi" in refused(json.dumps(document | {"headline": "lira"}))
    path.unlink()
    with pytest.raises(TmiError, match=r"results\.json is missing"):
        Results.load(path)


def test_attacks_are_ranked_with_direct_access_apart() -> None:
    results = make_results({"tmi": 0.6, "confidence": 0.1, "adapted-lira": 0.7, "direct": 1.0})
    assert results.ranked == ["adapted-lira", "tmi", "confidence"]
    assert results.direct == ["direct"]
    assert results.main == results.attacks["tmi"]
    assert results.rates == ["0.001", "0.01", "0.05", "0.1"]
    assert results.representative_rate == "0.01"
    assert changed(results, {"evaluation/confidence": 0.9}).confidence == "90%"
