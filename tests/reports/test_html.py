import re
from html.parser import HTMLParser

from tasks.evaluation.verdict import Verdict
from tasks.reports import html
from tasks.reports.summary import CandidateRow

HOSTILE = "<img src=http://evil.example/x onerror=alert(1)>\"'&{{7*7}}"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and visible text; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


def test_every_case_gives_a_well_formed_page_with_unique_ids(any_case):
    page = Page(html.render(any_case))

    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a" and attributes["href"][0] == "#"]
    assert anchors and set(anchors) <= set(ids)
    assert any_case.decision in page.text


def test_equal_summaries_give_equal_bytes(any_case):
    again = type(any_case).model_validate_json(any_case.model_dump_json())

    assert html.render(any_case) == html.render(again)


def test_the_page_loads_nothing_from_anywhere(any_case):
    page = Page(html.render(any_case))

    assert not {"script", "link", "img", "iframe", "object", "embed", "image", "use"} & {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags if {"src", "srcset", "xlink:href", "background", "poster"} & set(a)]
    assert "url(" not in html.render(any_case) and "@import" not in html.render(any_case)
    policy = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy[0].startswith("default-src 'none'")


def test_hostile_names_stay_text_everywhere(summary):
    verdict = Verdict(gate=HOSTILE, metric=HOSTILE, status="fail", reason=HOSTILE, slice=HOSTILE, measured=1.0)
    row = summary.rows[2].model_copy(
        update={
            "name": HOSTILE,
            "chain": (HOSTILE,),
            "reason": HOSTILE,
            "verdicts": (verdict,),
            "slices": {HOSTILE: {"accuracy": 0.5}},
            "classes": {HOSTILE: {"accuracy": 0.5}},
            "proof": {HOSTILE: HOSTILE},
        }
    )
    limits = tuple(line.model_copy(update={"label": HOSTILE}) for line in summary.targets["cpu"].limits)
    target = summary.targets["cpu"].model_copy(update={"limits": limits, "environment": {HOSTILE: HOSTILE}})
    hostile = summary.model_copy(
        update={
            "rows": (*summary.rows, row, row.model_copy(update={"target": HOSTILE})),
            "targets": {"cpu": target, HOSTILE: target},
            "model": HOSTILE,
            "decision": HOSTILE,
            "config": {HOSTILE: HOSTILE},
            "notes": (HOSTILE,),
            "champion": HOSTILE,
            "environment": {HOSTILE: HOSTILE},
            "mlflow_link": "javascript:alert(1)",
        }
    )

    page = Page(html.render(hostile))

    assert "img" not in {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert not [a for tag, a in page.tags if tag == "a" and "javascript" in (a["href"] or "")]
    assert HOSTILE in page.text and "{{7*7}}" in page.text


def test_every_candidate_and_every_verdict_is_on_the_page(summary, many):
    for case in (summary, many):
        page = Page(html.render(case))
        for row in case.rows:
            assert row.name in page.text
            assert all(verdict.reason in page.text for verdict in row.verdicts)


def test_refused_candidates_are_in_the_trade_off_plot(summary):
    page = html.render(summary)

    first_plot = page[page.index('<svg class="plot wide"') :]
    first_plot = first_plot[: first_plot.index("</svg>")]
    drawn = re.findall(r'data-candidate="([^"]+)"', first_plot)
    assert sorted(drawn) == ["float16", "float32", "int8", "int8_dynamic"]
    assert first_plot.count('class="cross"') == 2
    assert "accuracy max_drop 0.01" in first_plot and "p50_ms min_speedup 1.0" in first_plot


def test_a_target_without_measurements_says_so_instead_of_an_empty_plot(nothing_passed):
    page = Page(html.render(nothing_passed))

    assert "Nothing was measured on tfs" in page.text
    assert "there is nothing to plot" in page.text
    assert "none: first release" in page.text
    assert page.text.count("No candidate chosen") == 2


def test_a_page_with_one_row_that_has_no_figures_at_all(summary):
    row = CandidateRow(name="float32", target="cpu", outcome="broken", reason="out of memory")

    page = Page(html.render(summary.model_copy(update={"rows": (row,), "winners": {}})))

    assert "out of memory" in page.text


def test_the_report_is_written_whole(summary, tmp_path):
    path = html.write(summary, tmp_path / "deep")

    assert path.read_text(encoding="utf-8") == html.render(summary)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
