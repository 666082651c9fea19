"""The first lines in plain words, the sentences on a target, and the report as Markdown."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from made.results import as_saved, changed, figure, make_results, with_target
from tmi.errors import visible
from tmi.report.blocks import Material
from tmi.report.markdown import escaped, render_markdown
from tmi.report.results import Results
from tmi.report.sections import sections_of
from tmi.report.sections.summary import natural_frequency, plain_words
from tmi.report.sections.target import target_sentences
from tmi.report.wording import with_interval

HOSTILE = (
    "<script>x</script>|![i](http://a.example/i)[l](javascript:x) `a` <b onclick=x> http://a.example www.a.example\n# h"
)


@pytest.fixture
def results() -> Results:
    return make_results({"tmi": 0.6, "adapted-lira": 0.7, "direct": 1.0})


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(markdown: str) -> Tags:
    """As a renderer shows it that lets HTML through, which is the worst case."""
    parser = Tags()
    parser.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    return parser


def markdown(results: Results) -> str:
    return render_markdown(results, sections_of(Material(results)))


def said_of_target(results: Results) -> str:
    return " ".join(target_sentences(results))


# Plain words


@pytest.mark.parametrize(
    ("fraction", "rate", "expected"),
    [
        (0.126, 0.01, ("13", "1", "100")),
        (0.042, 0.01, ("42", "10", "1,000")),
        (0.148, 0.05, ("15", "5", "100")),
        (0.5, 0.025, ("500", "25", "1,000")),
        (0.2, 0.0001, ("2,000", "1", "10,000")),
        (1.0, 0.01, ("100", "1", "100")),
    ],
)
def test_rates_become_counts_of_a_round_number(fraction: float, rate: float, expected: tuple[str, str, str]) -> None:
    assert natural_frequency(fraction, rate) == expected


def test_plain_words_say_what_leaks_and_how_sure_that_is(results: Results) -> None:
    results = changed(results, {"attacks/tmi/tpr_at_fpr/0.01": figure(0.126, 0.02)})
    text = " ".join(plain_words(results))
    assert text.startswith("Something leaks: from the answers of a finetuned model alone")
    assert "in 66 of 100 tries (64 to 68; guessing: 50)" in text
    assert "Of 100 points that were in the pretraining data (members), about 13 are found" in text
    assert "(95% interval: 11 to 15) if 1 of 100 others may be accused wrongly; guessing would find 1." in text
    # 0.126 / (0.126 + 0.01) and 0.0126 / (0.0126 + 0.009)
    assert "about 93 (91 to 94) are then right where half of the points" in text
    assert "about 58 (54 to 62) where only one in ten" in text
    assert not any(word in text for word in ("AUC", "ROC", "TPR", "FPR"))


def test_plain_words_without_a_leak_claim_none() -> None:
    text = " ".join(plain_words(make_results({"tmi": 0.0})))
    assert text.startswith("No leak was shown")
    assert "That is no clear difference." in text
    assert "accusations" not in text
    assert "an attack that is right in 53 of 100 tries would have been seen in four of five such audits" in text
    assert not any(word in text for word in ("AUC", "ROC", "TPR", "FPR"))
    assert "reversed" in plain_words(make_results({"tmi": -0.6}))[0]
    assert "of the pretrained models themselves" in plain_words(make_results({"direct": 2.0}))[0]


def test_plain_words_on_a_given_model_compare_with_the_points_alone() -> None:
    results = make_results({"inputs-and-answers": 0.6, "inputs-alone": 0.3})
    (sentence,) = plain_words(results)
    assert "66 of 100 tries (64 to 68; guessing: 50) with the finetuned model's answers, and in 58" in sentence
    assert "That may be memory, or" in sentence
    assert "tmi compare" in sentence
    results = changed(results, {"comparisons/inputs-alone/auc": figure(0.01, 0.02)})
    assert "not shown" in plain_words(results)[0]


# The target


def test_a_target_is_summed_up_without_an_auc(results: Results) -> None:
    assert said_of_target(results) == ""
    text = said_of_target(with_target(results))
    assert text.startswith("their-model: of 300 points, 21 are called members of its pretraining data.")
    assert "about 3 would be called by chance alone" in text
    assert "p = 0.004" in text
    assert "speaks for" in text
    assert "AUC" not in text
    assert "which is no proof that it was not" in said_of_target(with_target(results, p_value=0.4))
    assert "p < 0.0001" in said_of_target(with_target(results, p_value=1e-7))
    assert "1 is called a member" in said_of_target(with_target(results, called=1))


# Markdown


def test_markdown_has_summary_table_target_bound_and_limits(results: Results) -> None:
    text = rendered(markdown(with_target(as_saved(results)))).text
    for part in (
        "In plain words",
        "The target: their-model",
        "Differential privacy of the pretraining",
        "What was not measured",
    ):
        assert part in text
    for part in (with_interval(results.main.auc), "direct (direct access)", "no AUC", "on trust"):
        assert part in text
    assert "The target:" not in markdown(results)


def test_markdown_holds_nothing_that_users_could_inject(results: Results) -> None:
    plain = rendered(markdown(with_target(results))).tags
    results = with_target(make_results({"tmi": 0.6, HOSTILE: 0.7, "direct": 1.0}))
    places = ["name", "description", "target/name", "target/most_suspected/0/label"]
    results = changed(results, dict.fromkeys(places, HOSTILE))
    found = rendered(markdown(results))
    assert sorted(found.tags) == sorted(plain)
    assert "![i](http" in found.text


@given(st.text(st.sampled_from("ab|\\`*_[](){}<>!#&;~$^@:/.w\n1-+= "), max_size=40))
@settings(max_examples=200, deadline=None)
def test_escaped_text_stays_text_in_a_cell(text: str) -> None:
    found = rendered(f"| a | b |\n| --- | --- |\n| {escaped('x' + text)} | y |\n")
    assert found.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert " ".join(f"x{text}".split()) in " ".join(found.text.replace("\N{WORD JOINER}", "").split())


def test_bare_addresses_are_broken_up() -> None:
    joiner = "\N{WORD JOINER}"
    assert escaped("https://a.b www.c me@d.e") == f"https{joiner}://a.b www{joiner}.c me@{joiner}d.e"


def test_names_do_not_turn_the_text_around_or_steer(results: Results) -> None:
    shown = markdown(changed(results, {"name": "a\u202eb\x1bc"}))
    assert "a\\u202eb" in shown
    assert visible(shown) == shown
