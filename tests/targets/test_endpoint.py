"""Every query is answered once, whatever happens, and no token is shown."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made.endpoint import TEXTS, TOKEN, Server, expected, query, target, well
from tmi.errors import TmiError
from tmi.system.progress import Silent
from tmi.targets import query_target


def test_every_query_is_answered_once_and_in_order(server: Server, tmp_path: Path) -> None:
    answers = query(target(server), tmp_path)
    assert answers.dtype == np.float32
    np.testing.assert_array_equal(answers, expected())
    assert [body["inputs"] for body in server.asked] == TEXTS.ravel().tolist()
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {TOKEN}"}
    np.testing.assert_array_equal(query(target(server), tmp_path), answers)
    assert len(server.asked) == TEXTS.size


def test_kept_answers_need_no_token(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query(target(server), tmp_path)
    monkeypatch.delenv("MY_TOKEN")
    np.testing.assert_array_equal(query(target(server), tmp_path), expected())


def test_a_query_that_failed_half_way_goes_on(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (400, {}, "broken") if number == 5 else well(number, body)
    with pytest.raises(TmiError, match=r"'ours': status 400: broken; what was answered is kept"):
        query(target(server), tmp_path)
    assert len(server.asked) == 5
    np.testing.assert_array_equal(query(target(server), tmp_path), expected())
    assert [body["inputs"] for body in server.asked[5:]] == TEXTS.ravel().tolist()[4:]


def test_an_interrupted_query_goes_on(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(Silent):
        answered, ended = 0, False

        def advance(self, steps: int) -> None:
            self.answered += steps
            if self.answered == 3:
                raise KeyboardInterrupt

        def end(self) -> None:
            self.ended = True

    progress = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        query_target(target(server), TEXTS, "text", 3, tmp_path / "target" / "answers.sqlite", progress, tmp_path)
    assert progress.ended
    query(target(server), tmp_path)
    assert [body["inputs"] for body in server.asked] == TEXTS.ravel().tolist()


def test_what_a_killed_process_was_answered_is_kept(server: Server, tmp_path: Path) -> None:
    import subprocess
    import sys

    server.answer = lambda number, body: well(number, body) if number != 4 else (time.sleep(2), well(number, body))[1]
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from tmi.config.target import TargetConfig; from tmi.targets import query_target\n"
        "from tmi.system.progress import Silent\n"
        "texts = np.array([[f'point {i}', f'point {i} again'] for i in range(4)], dtype=object)\n"
        "config = TargetConfig.model_validate_json(sys.argv[1])\n"
        "query_target(config, texts, 'text', 3, Path(sys.argv[2]), Silent())\n"
    )
    cache = tmp_path / "target" / "answers.sqlite"
    with subprocess.Popen([sys.executable, "-c", code, target(server).model_dump_json(), str(cache)]) as process:
        while len(server.asked) < 4 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    query(target(server), tmp_path)
    # Only the one whose answer was on its way is asked for again.
    assert [body["inputs"] for body in server.asked] == [*TEXTS.ravel().tolist()[:4], *TEXTS.ravel().tolist()[3:]]


def test_a_damaged_kept_answer_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    query(target(server), tmp_path)
    cache = tmp_path / "target" / "answers.sqlite"
    with contextlib.closing(sqlite3.connect(cache)) as database, database:
        key, kept = database.execute("SELECT key, numbers FROM answers").fetchone()
        database.execute("UPDATE answers SET numbers = ? WHERE key = ?", (kept[:6] + b"\x41" + kept[7:], key))

    notes: list[str] = []

    class Noting(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    progress = Noting()
    answers = query_target(target(server), TEXTS, "text", 3, cache, progress, tmp_path)
    np.testing.assert_array_equal(answers, expected())
    assert notes == [f"{cache}: 1 kept answers are damaged: asked for again"]
    assert len(server.asked) == TEXTS.size + 1
    # What earlier versions kept has no hash.
    with contextlib.closing(sqlite3.connect(cache)) as database, database:
        database.execute("UPDATE answers SET numbers = substr(numbers, 1, 24)")
    np.testing.assert_array_equal(query(target(server), tmp_path), expected())
    assert len(server.asked) == TEXTS.size + 1


def test_equal_queries_are_sent_once(server: Server, tmp_path: Path) -> None:
    texts = np.array([["same", "same"], ["other", "same"]], dtype=object)
    np.testing.assert_array_equal(query(target(server), tmp_path, texts), expected(texts))
    assert len(server.asked) == 2


def test_another_request_is_another_answer(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query(target(server), tmp_path)
    query(target(server, body='{"inputs": ${input}, "version": 2}'), tmp_path)
    assert len(server.asked) == 2 * TEXTS.size
    # The pace, the batch and the name of the variable change nothing about it.
    monkeypatch.setenv("OTHER_NAME", TOKEN)
    headers = {"Authorization": "Bearer ${OTHER_NAME}"}
    query(target(server, per_second=1e5, retries=0, timeout_seconds=3, headers=headers), tmp_path)
    assert len(server.asked) == 2 * TEXTS.size


@pytest.mark.parametrize("status", [200, 307, 401, 429, 500])
def test_a_token_is_never_shown_or_written(
    server: Server, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The endpoint echoes everything, in every place, and the token is part of the address as well."""
    from urllib.parse import quote, quote_plus

    caplog.set_level(logging.DEBUG)
    forms = [TOKEN, quote(TOKEN), quote(TOKEN, safe=""), quote_plus(TOKEN), TOKEN.lower(), TOKEN.replace("/", "\\/")]

    def echo(number: int, body: Any) -> tuple[int, dict[str, str], str]:
        if number == 1:
            return 200, {"Set-Cookie": f"token={quote(TOKEN)}"}, json.dumps({TOKEN: TOKEN, "scores": [1, 2, 3]})
        # The last token lies across the place where messages are cut.
        text = f"{' '.join(forms)} {'.' * 20} {forms[0] * 9}"
        return status, {"Location": f"https://elsewhere.example/{quote(TOKEN)}"}, text

    server.answer = echo
    config = target(server, url=server.url + "?key=${MY_TOKEN}", body='{"inputs": ${input}, "auth": "${MY_TOKEN}"}')
    with pytest.raises(TmiError) as caught:
        query(config, tmp_path)
    assert server.asked[0]["auth"] == TOKEN
    assert server.paths[0] == f"/classify?key={quote(TOKEN, safe='')}"
    out, err = capfd.readouterr()
    (tmp_path / "config.json").write_text(config.model_dump_json())
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    shown = f"{caught.value} {out} {err} {caplog.text}" + written.decode("utf-8", "replace")
    assert "hidden" in shown
    assert len(written) > 1000
    for form in forms:
        assert form.lower() not in shown.lower()
    assert TOKEN[:6].lower() not in shown.lower()


@pytest.mark.parametrize("value", [None, "", "two\nlines", "naïve"])
def test_a_variable_that_is_missing_or_unusable_is_named_before_anything_is_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("MY_TOKEN")
    if value is not None:
        monkeypatch.setenv("MY_TOKEN", value)
    with pytest.raises(TmiError, match="the environment variable MY_TOKEN") as caught:
        query(target(server), tmp_path)
    assert not value or value not in str(caught.value)
    assert not server.asked


def test_a_cache_that_is_none(server: Server, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "answers.sqlite").write_text("something else, longer than a header of SQLite would be" * 99)
    with pytest.raises(TmiError, match=r"answers.sqlite: the kept answers cannot be read or written .*not a database"):
        query(target(server), tmp_path)
    assert not server.asked
