"""The report in a real browser: hostile text stays text, nothing leaves the page, it loads quickly and fits a phone."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made.results import by_others, changed, make_results, with_target
from made.variants import make_seven
from tmi.report.blocks import Material
from tmi.report.document import write_report
from tmi.report.exhibits import Exhibit
from tmi.report.results import Results

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.skipif(BROWSER is None, reason="needs a Chromium on the PATH"), pytest.mark.drawn]


def dumped(page: Path, profile: Path, *options: str) -> str:
    """The page's DOM after it has loaded."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", *options]
    finished = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    return finished.stdout


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An address that a page could ask, and what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def hostile_results(hostile: str) -> Results:
    """Results with hostile text wherever users can put some."""
    results = with_target(make_results({"tmi": 0.6, hostile: 0.1, "direct": 1.0}))
    places = ["name", "description", "data/pool/source", "data/downstream/source", "provenance/machine/system"]
    places += [f"points/most_exposed/{index}/label" for index in range(len(results.points.most_exposed))]
    places += ["target/name", "target/most_suspected/0/label"]
    return changed(results, dict.fromkeys(places, hostile) | {"provenance/hashes": {hostile: hostile}})


def test_hostile_text_stays_text_and_nothing_is_asked_for(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    address, asked = listener
    hostile = (
        f"</style></title></script><script>document.title='owned';fetch('{address}/f')</script>"
        f"<img src={address}/i onerror=\"document.body.id='owned'\"><svg onload=alert(1)><link rel=stylesheet "
        f"href={address}/l><style>@import '{address}/s'</style><meta http-equiv=refresh content=\"0;url={address}/m\">"
        f'<iframe src={address}/e></iframe>"\' onmouseover="x" [a](javascript:x) ![b]({address}/b)'
    )
    exhibits = [Exhibit("text", hostile)] * 3
    write_report(tmp_path, Material(hostile_results(hostile), exhibits, exhibits, hostile))
    dom = dumped(tmp_path / "report.html", tmp_path / "profile")
    assert "owned';fetch" in dom  # it is there, as text
    dom, scripts = re.subn(r'<script>"use strict";.*?</script>', "", dom, flags=re.DOTALL)
    assert scripts == 1
    without_text = re.sub(r">[^<]*<", "><", dom)
    assert not re.search(r"<(script|iframe|link|object|embed)\b", without_text)
    assert not re.search(r"<[^>]*\son\w+\s*=", without_text)
    assert without_text.count("<meta ") == 4
    assert "<img" not in without_text
    assert "<title></title>" in without_text
    assert asked == []


def test_the_policy_stops_requests_even_if_an_escape_were_forgotten(
    tmp_path: Path, listener: tuple[str, list[str]]
) -> None:
    address, asked = listener
    write_report(tmp_path, Material(make_results({"tmi": 0.6})))
    page = tmp_path / "report.html"
    injected = f"<img src='{address}/i'><script>document.title='owned'</script><iframe src='{address}/e'></iframe>"
    page.write_text(page.read_text().replace("<main>", f"<main>{injected}"))
    assert "<title>owned" not in dumped(page, tmp_path / "profile")
    assert asked == []
    page.write_text(page.read_text().replace('http-equiv="Content-Security-Policy"', "name=x"))
    assert "<title>owned" in dumped(page, tmp_path / "profile")
    assert "/i" in asked  # so the listener would have heard


def ran(page: Path, profile: Path, script: str, *options: str) -> str:
    """The title that a script gives a page after it has loaded."""
    html = page.read_text().replace('http-equiv="Content-Security-Policy"', "name=x")
    page.write_text(html.replace("</body>", f"<script>{script}</script></body>"))
    found = re.search("<title>(.*?)</title>", dumped(page, profile, *options), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_slider_says_what_the_table_says_and_follows_the_curve(tmp_path: Path) -> None:
    results = make_results({"tmi": 0.6})
    write_report(tmp_path, Material(results))
    dom = dumped(tmp_path / "report.html", tmp_path / "profile")
    found = results.main.tpr_at_fpr["0.01"]
    assert f"At 1.0% false positives tmi finds {100 * found.estimate:.1f}% [" in dom
    script = """
        const [input, output, dot] = ['.live input', '.live output', '.dot'].map((s) => document.querySelector(s));
        const curve = document.querySelector('#roc-axes').getBBox();
        const at = (place) => {
          input.value = place;
          input.dispatchEvent(new Event('input'));
          const [x, y] = ['cx', 'cy'].map((name) => +dot.getAttribute(name));
          return [x - curve.x, curve.y + curve.height - y, output.textContent];
        };
        const [first, last] = [at(0), at(+input.max)];
        const rises = first[0] < last[0] && first[1] < last[1] && first[2] !== last[2];
        const inside = first[0] >= 0 && first[1] >= 0 && last[0] <= curve.width && last[1] <= curve.height;
        document.title = `${rises} ${inside}`"""
    assert ran(tmp_path / "report.html", tmp_path / "profile", script) == "true true"


def test_the_table_of_points_is_sorted_by_a_click(tmp_path: Path) -> None:
    results = make_results({"tmi": 0.6}, points=5)
    values = {f"points/most_exposed/{place}/auc": auc for place, auc in enumerate([0.9, 0.5, 0.7, 0.95, 0.6])}
    write_report(tmp_path, Material(changed(results, values)))
    script = """
        const [point, label, auc] = document.querySelectorAll('.long th button');
        const column = () => [...document.querySelectorAll('.long tbody tr')].map((row) => row.cells[0].textContent);
        const orders = [column()];
        for (const button of [auc, auc, point]) { button.click(); orders.push(column()); }
        document.title = orders.join(' ')"""
    orders = ran(tmp_path / "report.html", tmp_path / "profile", script).split()
    names = orders[0].split(",")
    by_auc = [names[place] for place in (3, 0, 2, 4, 1)]
    assert [order.split(",") for order in orders[1:]] == [by_auc, by_auc[::-1], sorted(names, reverse=True)]


@pytest.mark.parametrize(("scheme", "background"), [("1", "rgb(255, 255, 255)"), ("0", "rgb(30, 35, 42)")])
def test_figures_are_as_light_or_dark_as_the_page(tmp_path: Path, scheme: str, background: str) -> None:
    write_report(tmp_path, Material(make_results({"tmi": 0.6})))
    script = """
        const behind = getComputedStyle(document.querySelector('#patch_1 path')).fill;
        document.title = [behind, getComputedStyle(document.querySelector('.chart')).backgroundColor].join(';')"""
    preferred = f"--blink-settings=preferredColorScheme={scheme}"
    found = ran(tmp_path / "report.html", tmp_path / "profile", script, preferred)
    assert found.split(";") == [background, background]


def printed_pages(page: Path, profile: Path) -> int:
    pdf = page.with_suffix(".pdf")
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    subprocess.run([*command, f"--print-to-pdf={pdf}", page.as_uri()], capture_output=True, timeout=60, check=True)
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


def test_the_first_page_is_one_sheet_however_much_was_tried(tmp_path: Path) -> None:
    results = make_seven()
    results = changed(
        results, {"views": by_others(results, ["logits", "top-3", "label"]), "description": "words " * 30}
    )
    notes = [{"level": "warning", "text": "Few points. " * 8}]
    exhibits = [Exhibit("text", "words")] * len(results.points.most_exposed)
    write_report(tmp_path, Material(changed(results, {"notes": notes}), exhibits))
    page = tmp_path / "report.html"
    assert printed_pages(page, tmp_path / "profile") > 2
    page.write_text(re.sub("<main>.*</main>", "", page.read_text(), flags=re.DOTALL))
    assert printed_pages(page, tmp_path / "profile") == 1


def test_120_photographs_load_quickly(tmp_path: Path) -> None:
    photographs = np.random.default_rng(0).random((120, 64, 64, 3))
    results = make_results({"tmi": 0.6}, points=120)
    write_report(tmp_path, Material(results, [Exhibit("image", photograph) for photograph in photographs]))
    assert (tmp_path / "report.html").stat().st_size < 5e6
    started = time.monotonic()
    dom = dumped(tmp_path / "report.html", tmp_path / "profile")
    assert time.monotonic() - started < 15
    assert dom.count("<img ") == 120


@pytest.mark.parametrize("layout", ["images", "texts", "table"])
def test_nothing_sticks_out_of_a_phone(tmp_path: Path, layout: str) -> None:
    results = make_results({"tmi": 0.6, "a-very-long-name-of-an-attack" * 3: 0.1, "direct": 1.0}, non_members=400)
    results = with_target(results)
    exhibits = {"images": [Exhibit("image", np.eye(8))] * 3, "texts": [Exhibit("text", "x" * 500)] * 3, "table": []}
    write_report(tmp_path, Material(results, exhibits[layout], exhibits[layout], "x" * 300))
    # Open all that folds.
    page = (tmp_path / "report.html").read_text().replace("<details", "<details open")
    width, needed = on_a_phone(page, tmp_path, "[root.clientWidth, root.scrollWidth]")
    assert 350 < width <= 390
    assert needed <= width


def test_a_phone_shows_true_positive_rates(tmp_path: Path) -> None:
    attacks = {"tmi": 0.6, "label-probe-shadows": 0.5, "adapted-lira": 0.3, "direct": 1.0}
    write_report(tmp_path, Material(make_results(attacks)))
    heads = "[...root.querySelectorAll('main th[scope=col]')].filter((head) => head.textContent === 'TPR@1%FPR')"
    edges = f"[root.clientWidth, ...{heads}.map((head) => Math.ceil(head.getBoundingClientRect().right))]"
    width, edge = on_a_phone((tmp_path / "report.html").read_text(), tmp_path, edges)
    assert 300 < edge <= width


def on_a_phone(page: str, folder: Path, numbers: str) -> list[int]:
    """What an expression of the page's ``root`` gives in a frame of a phone's width.

    A headless window is never narrower than 500 pixels.
    """
    (folder / "page.html").write_text(page.replace('http-equiv="Content-Security-Policy"', "name=x"))
    script = (
        "<script>onload = () => { const root = frame.contentDocument.documentElement;"
        f"document.title = ({numbers}).join(' ') }}</script>"
    )
    framed = folder / "framed.html"
    framed.write_text(f'<title></title><iframe id="frame" width="390" height="800" src="page.html"></iframe>{script}')
    found = re.search(r"<title>([\d ]+)</title>", dumped(framed, folder / "profile", "--allow-file-access-from-files"))
    assert found is not None
    return [int(number) for number in found[1].split()]
