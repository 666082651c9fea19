"""An HTTP endpoint that classifies, or does what else endpoints do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from tmi.config.target import TargetConfig
from tmi.system.progress import Silent
from tmi.targets import query_target

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
        self.encoding = "utf-8"
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
                data = text.encode(server.encoding)
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
