from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmi.config.target import TargetConfig
from tmi.errors import TmiError
from tmi.system.progress import Silent
from tmi.targets import endpoint, query_target
from tmi.targets.endpoint import seconds_to_wait
from tmi.targets.rendering import as_json

TOKEN = "s3cr3t/Token+of mine"
TEXTS = np.array([[f"point {i}", f"point {i} again"] for i in range(4)], dtype=object)
Answer = Callable[[int, Any], tuple[int, dict[str, str], str]]


def logits_of(text: str) -> list[float]:
    return [float(len(text)), float(text.count("a")), -1.5]


def well(number: int, body: Any) -> tuple[int, dict[str, str], str]:
    return 200, {}, json.dumps({"scores": logits_of(body["inputs"])})


class Server:
    """An endpoint that answers as it is told and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = well
        self.asked: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body)
                server.headers.append(dict(self.headers))
                server.paths.append(self.path)
                server.times.append(time.monotonic())
                status, headers, text = server.answer(len(server.asked), body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                data = text.encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/classify"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "*")
    running = Server()
    yield running
    running.close()


def target(server: Server, **changes: Any) -> TargetConfig:
    keys = {
        "kind": "http",
        "name": "ours",
        "url": server.url,
        "headers": {"Authorization": "Bearer ${MY_TOKEN}"},
        "body": '{"inputs": ${input}}',
        "scores": "scores",
        "meaning": "logits",
        "per_second": 1e6,
        "retries": 2,
    }
    return TargetConfig.model_validate(keys | changes)


def query(config: TargetConfig, folder: Path, queries: Any = TEXTS, kind: Any = "text", classes: int = 3) -> Any:
    return query_target(config, queries, kind, classes, folder / "target" / "answers.sqlite", Silent(), folder)


def expected(texts: Any = TEXTS) -> Any:
    return np.array([[logits_of(text) for text in row] for row in texts], dtype=np.float32)


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


def test_batches_have_a_list_of_points(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (200, {}, json.dumps([{"s": logits_of(text)} for text in body["inputs"]]))
    config = target(server, body='{"inputs": ${inputs}}', batch_size=3, scores="*.s")
    np.testing.assert_array_equal(query(config, tmp_path), expected())
    assert [len(body["inputs"]) for body in server.asked] == [3, 3, 2]


def test_named_scores_are_put_in_order(server: Server, tmp_path: Path) -> None:
    def sorted_by_score(number: int, body: Any) -> tuple[int, dict[str, str], str]:
        pairs = zip(("anger", "joy", "fear"), logits_of(body["inputs"]), strict=True)
        ranked = sorted(pairs, key=lambda pair: -pair[1])
        return 200, {}, json.dumps([[{"label": name, "score": score} for name, score in ranked]])

    server.answer = sorted_by_score
    classes = ["anger", "joy", "fear"]
    config = target(server, scores="0.*.score", names="0.*.label", classes=classes)
    np.testing.assert_array_equal(query(config, tmp_path), expected())
    wrong = target(server, scores="0.*.score", names="0.*.label", classes=["anger", "joy", "awe"])
    with pytest.raises(TmiError, match=r"the answer has the class 'fear', expected exactly those of target.classes"):
        query(wrong, tmp_path)
    named = target(server, scores="all", classes=classes)
    server.answer = lambda number, body: (
        200,
        {},
        json.dumps({"all": dict(reversed(list(zip(classes, logits_of(body["inputs"]), strict=True))))}),
    )
    np.testing.assert_array_equal(query(named, tmp_path), expected())


def test_labels_are_seen_as_the_view_shows_them(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (200, {}, '{"label": "joy"}')
    config = target(server, scores="label", classes=["anger", "joy"], meaning="label")
    answers = query(config, tmp_path, classes=2)
    np.testing.assert_allclose(answers, np.broadcast_to(np.log(np.float32([0.001, 1])), (4, 2, 2)), rtol=1e-6)


@pytest.mark.parametrize("wait", ["1", "date"])
def test_an_endpoint_that_is_busy_is_given_the_time_it_asks_for(server: Server, tmp_path: Path, wait: str) -> None:
    def busy_once(number: int, body: Any) -> tuple[int, dict[str, str], str]:
        # A date has whole seconds, so that this one is 1 to 2 seconds ahead.
        asked = wait if wait == "1" else formatdate(time.time() + 2, usegmt=True)
        return (429, {"Retry-After": asked}, "slow down") if number == 1 else well(number, body)

    server.answer = busy_once
    np.testing.assert_array_equal(query(target(server), tmp_path, TEXTS[:1]), expected(TEXTS[:1]))
    assert [body["inputs"] for body in server.asked] == ["point 0", "point 0", "point 0 again"]
    assert server.times[1] - server.times[0] >= 0.95


def test_an_endpoint_that_asks_for_hours_is_left_alone(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (429, {"Retry-After": "7200"}, "quota")
    with pytest.raises(TmiError, match="status 429: quota; it asks to wait for 7200 seconds"):
        query(target(server), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("header", "seconds"), [("", 0), ("12", 12), ("soon", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)]
)
def test_retry_after(header: str, seconds: float) -> None:
    assert seconds_to_wait(header) == seconds


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_retries_end(server: Server, tmp_path: Path, status: int) -> None:
    server.answer = lambda number, body: (status, {}, "no")
    with pytest.raises(TmiError, match=f"3 requests failed, the last with status {status}: no"):
        query(target(server), tmp_path)
    assert len(server.asked) == 3


def test_an_endpoint_out_of_reach(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TmiError, match="3 requests failed, the last with ConnectError"):
        query(target(server, url="http://127.0.0.1:9/"), tmp_path)


def test_an_answer_that_takes_too_long(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (time.sleep(0.3), well(number, body))[1]
    with pytest.raises(TmiError, match="1 requests failed, the last with ReadTimeout"):
        query(target(server, timeout_seconds=0.05, retries=0), tmp_path)


def test_requests_are_paced(server: Server, tmp_path: Path) -> None:
    query(target(server, per_second=25), tmp_path)
    assert min(np.diff(server.times)) > 0.03
    assert server.times[-1] - server.times[0] >= (TEXTS.size - 1) / 25 - 0.01


def test_the_budget_is_that_of_all_runs(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TmiError, match=r"target.budget is 7 points, of which 0 were sent, and 8 more are to be sent"):
        query(target(server, budget=7), tmp_path)
    assert not server.asked
    query(target(server, budget=7), tmp_path, TEXTS[:2])
    # Kept answers cost nothing; what is new does.
    query(target(server, budget=4), tmp_path, TEXTS[:2])
    with pytest.raises(TmiError, match=r"target.budget is 7 points, of which 4 were sent, and 4 more are to be sent"):
        query(target(server, budget=7), tmp_path)
    assert len(server.asked) == 4


def test_repeated_requests_count(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (503, {}, "")
    with pytest.raises(TmiError, match=r"target.budget is 8 points, of which 8 were sent"):
        query(target(server, budget=8, retries=100), tmp_path)
    assert len(server.asked) == 8


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("<html>", "the answer is not JSON: <html>"),
        ("[" * 100_000, "the answer is not JSON"),
        ('{"scores": [1, 2]}', "the answer has 2 numbers for a point, expected 3, one per class"),
        ('{"scores": [1, 2, NaN]}', "an answer has NaN in it"),
        ('{"scores": [1, 2, Infinity]}', "an answer has an infinite logit in it"),
        ('{"scores": [1, 2, null]}', "target.scores leads to null, expected a number"),
        ('{"scores": [1, 2, "3"]}', "target.scores leads to 3, expected a number"),
        ('{"scores": [1, 2, true]}', "target.scores leads to true, expected a number"),
        ('{"scores": [1, 2, 1' + "0" * 400 + "]}", "a number with more than 308 digits"),
        ('{"scores": {"a": 1, "b": 2, "c": 3}}', "needs target.classes"),
        ('{"score": [1, 2, 3]}', "target.scores 'scores': the answer has no 'scores' in {"),
        ("[" + " " * 9_000_000 + "]", "the answer is larger than 8 MB"),
    ],
)
def test_an_answer_that_cannot_be_used_ends_it_but_what_came_before_is_kept(
    server: Server, tmp_path: Path, answer: str, problem: str
) -> None:
    server.answer = lambda number, body: (200, {}, answer) if number == 4 else well(number, body)
    with pytest.raises(TmiError, match=re.escape(problem)) as caught:
        query(target(server), tmp_path)
    assert len(server.asked) == 4
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(query(target(server), tmp_path), expected())
    assert len(server.asked) == 4 + 5


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([0.5, 0.4, 0.4], "add up to 1.3, expected 1"),
        ([50, 30, 20], "the probability 50, expected 0 to 1"),
        ([-0.1, 0.6, 0.5], "the probability -0.1, expected 0 to 1"),
    ],
)
def test_probabilities_are_probabilities(server: Server, tmp_path: Path, values: list[float], problem: str) -> None:
    server.answer = lambda number, body: (200, {}, json.dumps({"scores": values}))
    with pytest.raises(TmiError, match=problem):
        query(target(server, meaning="probabilities"), tmp_path)


def test_a_batch_of_another_length(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (200, {}, "[[1, 2, 3]]")
    with pytest.raises(TmiError, match=re.escape("has 1 entries at the first *, expected 2, one per point sent")):
        query(target(server, body='{"inputs": ${inputs}}', batch_size=2, scores="*.*"), tmp_path)


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


def test_a_redirect_is_not_followed(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (307, {"Location": "http://localhost:1/other"}, "")
    with pytest.raises(TmiError, match="a redirect to 'http://localhost:1/other', which is not followed"):
        query(target(server), tmp_path)
    assert len(server.asked) == 1


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


def test_a_point_that_looks_like_a_template_is_sent_as_it_is(server: Server, tmp_path: Path) -> None:
    texts = np.array([['${MY_TOKEN} ${input} "quoted" \\1 é\ud800']], dtype=object)
    query(target(server), tmp_path, texts)
    assert server.asked[0]["inputs"] == texts[0, 0]


def test_images_are_sent_as_png_or_lists(server: Server, tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    images = np.random.default_rng(0).integers(0, 256, (2, 2, 3, 4, 5), dtype=np.uint8)
    server.answer = lambda number, body: (200, {}, '{"scores": [0, 1, 2]}')
    query(target(server), tmp_path, images, "image")
    sent = np.array(Image.open(io.BytesIO(base64.b64decode(server.asked[0]["inputs"]))))
    np.testing.assert_array_equal(sent.transpose(2, 0, 1), images[0, 0])
    query(target(server, image="list"), tmp_path, images, "image")
    np.testing.assert_array_equal(server.asked[4]["inputs"], images[0, 0])
    grey = np.float32([[[0, 1], [0.5, 0.25]]])
    assert json.loads(as_json(grey[0], "image", "list")) == [[0, 1], [0.5, 0.25]]
    picture = Image.open(io.BytesIO(base64.b64decode(json.loads(as_json(grey[0], "image", "png")))))
    np.testing.assert_array_equal(np.array(picture), [[0, 255], [128, 64]])


def test_vectors_are_sent_as_lists(server: Server, tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    server.answer = lambda number, body: (200, {}, json.dumps({"scores": body["inputs"]}))
    np.testing.assert_array_equal(query(target(server), tmp_path, vectors, "vector"), vectors)


def test_a_cache_that_is_none(server: Server, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "answers.sqlite").write_text("something else, longer than a header of SQLite would be" * 99)
    with pytest.raises(TmiError, match=r"answers.sqlite: the kept answers cannot be read or written .*not a database"):
        query(target(server), tmp_path)
    assert not server.asked
