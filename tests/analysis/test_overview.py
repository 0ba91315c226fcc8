"""What README.md, REPORT.md and the page tell is what the files say, byte for byte."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support import ROOT

from bn_repro import paper
from bn_repro.analysis import claims, overview, report, results
from bn_repro.analysis.assertions import ASSERTIONS
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.overview import Overview
from bn_repro.analysis.prose import Prose, claims_table
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.report import Report
from bn_repro.analysis.rules import Above
from bn_repro.analysis.studies import default
from bn_repro.analysis.tables import Member
from bn_repro.cli import report as command
from bn_repro.config.compose import compose

PAGES = ("README.md", "results/REPORT.md", "results/report.html", "results/claims.csv")
MARKS = f"# A\n\n{overview.BEGIN}\n{overview.END}\n\nZ\n"


@pytest.fixture(scope="module")
def committed() -> list[Report]:
    """All studies under results/, from their rows alone."""
    return command.committed()


def _written(root: Path, reports: Sequence[Report]) -> dict[str, str]:
    """The pages, by name; ``root/results`` has the studies' figures."""
    if not (root / "README.md").exists():
        (root / "README.md").write_text(MARKS)
    return dict(zip(PAGES, (p.read_text() for p in overview.write(root, reports)), strict=True))


@pytest.fixture(scope="module")
def told(committed: list[Report], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages, written from the committed rows."""
    root = tmp_path_factory.mktemp("told")
    (root / "README.md").write_text((ROOT / "README.md").read_text())
    for found in committed:
        figures = shutil.ignore_patterns("*.csv", "*.gz", "*.json", "*.md", "*.png")
        shutil.copytree(
            ROOT / "results" / found.name, root / "results" / found.name, ignore=figures
        )
    return _written(root, committed)


@pytest.mark.parametrize("page", [*PAGES[:2], PAGES[3]])
def test_the_committed_pages_are_what_the_rows_say(told: dict[str, str], page: str) -> None:
    assert told[page] == (ROOT / page).read_text(), "make report"


def test_the_committed_verdicts_are_what_the_rows_say(committed: list[Report]) -> None:
    for found in committed:
        folder = ROOT / "results" / found.name
        assert claims.to_json(found.claims) == (folder / results.CLAIMS).read_text(), found.name
        page = (folder / results.README).read_text()
        assert not found.claims or claims_table(found.claims) in page, found.name


def test_one_table_has_the_claims_of_all_files() -> None:
    with open(ROOT / PAGES[3], newline="") as file:
        rows = list(csv.DictReader(file))
    found = Counter(row.pop("study") for row in rows)
    of_files = {p.parent.name: p for p in (ROOT / "results").glob(f"*/{results.CLAIMS}")}
    values = {name: json.loads(path.read_text()) for name, path in of_files.items()}
    assert found == {name: len(claims) for name, claims in values.items() if claims}
    written = [row for name in found for row in values[name]]
    assert rows == [
        {key: "" if value is None else str(value) for key, value in row.items()} for row in written
    ], "make report"


def test_every_figure_has_a_caption(committed: list[Report]) -> None:
    for found in committed:
        assert set(found.figures) <= set(found.prose.captions), found.name
    names = {found.name for found in committed}
    assert names & set(paper.STUDIES) >= {"fig1", "fig3", "fig4", "ablation_421"}


# --- made-up runs ---------------------------------------------------------------------------------


def _reported(root: Path, members: Sequence[Member], complete: bool = True) -> Report:
    return report.write("fig1", members, root / "results" / "fig1", complete=complete)


class Made(Prose):
    """A template's blocks, made up."""

    said: dict[str, str]

    def __getitem__(self, block: str) -> str:
        """Empty where it says nothing."""
        return self.said.get(block, "")


def _some(make_run, seeds: int = 3) -> list[Member]:
    arms = ("mnist/baseline", "mnist/bn")
    return [make_run(arm, s, steps=3_000) for arm in arms for s in range(seeds)]


@pytest.mark.usefixtures("light", "drawn_once")
def test_the_tally_says_what_is_bounded_and_what_chance_alone_would_give(
    make_run, tmp_path
) -> None:
    found = _reported(tmp_path, _some(make_run))
    assert Overview([found]).tally == (
        "Of 14 claims 0 hold, 0 do not hold, 14 are undecided, 0 are not testable. Of the "
        "undecided ones 14 have fewer than 5 seeds."
    )
    some = Interval(0.001, -0.002, 0.004, 10), Interval(0.01, 0.005, 0.015, 10)
    made_up = [
        claims.Claim("id", "s", "4", Quantity("q", interval, "points"), Above(), effect=0.003)
        for interval in some
    ]
    overview_ = Overview([replace(found, claims=[*made_up, *found.claims])])
    assert overview_.tally == (
        "Of 16 claims 1 holds, 0 do not hold, 15 are undecided, 0 are not testable. Of the "
        "undecided ones 14 have fewer than 5 seeds; in 1 the interval bounds the effect."
    )
    assert overview_.by_chance.startswith("2 claims are of an effect")
    assert "about 0.1 of them" in overview_.by_chance  # 2 x 2.5 %


@pytest.mark.usefixtures("light", "drawn_once")
def test_a_row_of_the_readme_says_how_many_claims_hold(make_run, tmp_path) -> None:
    found = _reported(tmp_path, _some(make_run))
    assert Overview.judged(found) == "14 undecided"
    intervals = Interval(0.01, 0.005, 0.015, 5), Interval(-0.01, -0.015, -0.005, 5)
    judged = [
        claims.Claim("id", "s", "4", Quantity("q", interval, "points"), Above())
        for interval in (*intervals, intervals[0])
    ]
    assert Overview.judged(replace(found, claims=judged)) == "2 hold, 1 does not"
    assert Overview.judged(replace(found, claims=[*judged[:2], found.claims[0]])) == (
        "1 holds, 1 does not, 1 undecided"
    )
    assert Overview.judged(replace(found, claims=[])) == "-"


def test_a_row_of_the_readme_has_the_first_sentence_of_the_outcome() -> None:
    first = "97.4 % [97.3, 97.5] at rate 0.1, BN-x5 (sec. 4.2) at 5 times it."
    assert overview.first_sentence(f"{first} On Inception none.\n") == first
    assert overview.first_sentence("") == ""


@pytest.mark.usefixtures("light")
def test_written_again_it_is_the_same(make_run, tmp_path: Path) -> None:
    members = _some(make_run)
    seen = []
    for _ in range(2):
        seen.append(_written(tmp_path, [_reported(tmp_path, members)]))
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)  # the second time from rows alone
        for page in PAGES[1:]:
            (tmp_path / page).unlink()
    assert seen[0] == seen[1]
    text = seen[0]["README.md"]
    assert text.startswith("# A\n")
    assert text.endswith("\n\nZ\n")
    (row,) = (line for line in text.splitlines() if line.startswith("| [fig1]"))
    assert row.startswith("| [fig1](results/fig1/README.md) | Is the MNIST network faster")
    assert "| Test accuracy: " in row  # the outcome, in the same line


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("field", ["estimate", "low", "n"])
def test_a_number_that_is_off_shows(make_run, tmp_path: Path, field: str) -> None:
    found = _reported(tmp_path, _some(make_run))
    first = found.claims[0]
    interval = replace(first.quantity.interval, **{field: {"n": 77}.get(field, -0.5)})
    changed = replace(first, quantity=replace(first.quantity, interval=interval))
    off = replace(found, claims=[changed, *found.claims[1:]])
    right, wrong = (_written(tmp_path, [one]) for one in (found, off))
    for page in PAGES[1:]:
        assert right[page] != wrong[page]


@pytest.mark.usefixtures("light")
def test_an_unfinished_study_is_told_as_unfinished(make_run, tmp_path: Path) -> None:
    members = [*_some(make_run), Member("mnist/bn", "1e234567", 3)]
    for complete, words in ((True, "6 of 7 runs"), (False, "6 of at least 7 runs")):
        found = _reported(tmp_path, members, complete)
        pages = _written(tmp_path, [found])
        assert f"**Not finished:** {found.title} ({words})." in pages["results/REPORT.md"]
        assert f"**Not finished ({words}).** " in pages["README.md"]
        assert f"not finished: {words}" in pages["results/report.html"]
    for page in _written(tmp_path, [_reported(tmp_path, members[:-1])]).values():
        assert "ot finished" not in page


@pytest.mark.usefixtures("light")
def test_a_study_that_nothing_names_comes_last_and_needs_no_claims(
    make_run, tmp_path: Path
) -> None:
    found = _reported(tmp_path, _some(make_run))
    prose = Prose("plain", default.STUDY, found.runs, [])
    new = replace(found, name="plain", study=default.STUDY, claims=[], prose=prose)
    assert new.title == "Study plain"
    shutil.copytree(tmp_path / "results" / "fig1", tmp_path / "results" / "plain")
    assert [r.name for r in Overview([new, found]).reports] == ["fig1", "plain"]
    both, alone = (_written(tmp_path, r) for r in ([new, found], [found]))
    html = [pages["results/report.html"].count("<tbody") for pages in (both, alone)]
    assert html[0] - html[1] == 1  # of its runs, none of claims
    text = both["results/REPORT.md"]
    assert text.index("(plain/README.md") > text.index("(fig1/README.md")
    assert "## Study plain\n" in text
    assert "| [plain](results/plain/README.md) | " in both["README.md"]


@pytest.mark.usefixtures("light", "drawn_once")
def test_the_report_opens_with_bn_alone_where_its_studies_are_in(make_run, tmp_path: Path) -> None:
    found = replace(_reported(tmp_path, _some(make_run)), figures=[])

    def claim(id: str, low: float) -> claims.Claim:
        interval = Interval(low + 1, low, low + 2, 10)
        return claims.Claim(id, "s", "4", Quantity("q", interval, "x"), Above(1.0), effect=2.33)

    def study(name: str, low: float) -> Report:
        ids = ("bn_baseline_speed_up_ratio", "bn_baseline_over_inception_maximum_difference")
        prose = {**dict.fromkeys(("outcome", "question", "what"), ""), "title": name}
        prose |= {"finding": "[Where](runs.csv) it wins.", "in_short": "", "deviations": ""}
        made = Made(name, default.STUDY, found.runs, [])
        made.said = prose
        return replace(found, name=name, claims=[claim(id, low) for id in ids], prose=made)

    digits, alone, literal = study("fig3_digits", 1.4), study("bn_alone", 1), study("fig3", 0.5)
    for some in ([digits], [alone, literal], [found]):
        assert "**BN alone.**" not in _written(tmp_path, some)["results/REPORT.md"]
    pages = _written(tmp_path, [digits, alone])
    text = pages["results/REPORT.md"]
    assert "**BN alone.** BN-Baseline is" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| digits, at Inception's"))
    assert "([`fig3_digits`](fig3_digits/README.md)) | **holds**: 2.40 times [1.40, 3.40] |" in row
    assert "[Where](bn_alone/runs.csv) it wins." in text
    assert "the paper's rate" not in text
    assert '<a href="#fig3_digits"><code>fig3_digits</code></a>' in pages["results/report.html"]
    with_it = _written(tmp_path, [digits, alone, literal])["results/REPORT.md"]
    assert (
        "the paper's rate ([`fig3`](fig3/README.md)) | **undecided**: 1.50 times [0.50" in with_it
    )


def test_links_hold_wherever_a_text_is_shown() -> None:
    text = "[a](../fig3/README.md#x), [log](../../docs/log.md), [`f`](runs.csv), [b](https://x.y)"
    assert overview.relinked(text, "results/fig1", "results") == (
        "[a](fig3/README.md#x), [log](../docs/log.md), [`f`](fig1/runs.csv), [b](https://x.y)"
    )
    moved = overview.relinked(text, "results/fig1", ".")
    assert moved.startswith("[a](results/fig3/README.md#x), [log](docs/log.md), ")


# --- the page -------------------------------------------------------------------------------------


VOID = ("meta", "link", "img", "br", "hr", "input")


class _Page(HTMLParser):
    """What a browser would make of it, as far as the tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {n: v or "" for n, v in attrs}, tuple(self.open)))
        if tag not in VOID:
            own = dict(attrs).get("class")
            self.open.append(f"{tag}.{own}" if own else tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().split(".")[0] == tag, (tag, self.getpos())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(told: dict[str, str]) -> str:
    return told["results/report.html"]


def test_the_page_needs_nothing_beside_it(page: str) -> None:
    """But for links to the log, for a reader who has the checkout."""
    read = _Page(page)
    images = read.all("img")
    assert len(images) == len(list((ROOT / "results").glob("*/figure*.svg")))
    for image in images:
        head, _, data = image["src"].partition(",")
        assert head == "data:image/svg+xml;base64"
        root = ElementTree.fromstring(base64.b64decode(data))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert min(int(image["width"]), int(image["height"])) > 100
        assert len(image["alt"]) > 20
    for tag, attributes, _ in read.elements:
        assert tag not in ("script", "iframe", "object", "embed", "source")
        for name in ("src", "srcset", "href", "poster", "data"):
            value = attributes.get(name, "")
            loads_nothing = tag == "a" and value.startswith(("#", "https://", "../docs/"))
            assert not value.startswith("../") or (ROOT / "results" / value.split("#")[0]).exists()
            assert not value or loads_nothing or value.startswith("data:"), (tag, value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_the_page_is_well_made(page: str) -> None:
    read = _Page(page)
    ids = Counter(a["id"] for _, a, _ in read.elements if "id" in a)
    assert max(ids.values()) == 1
    for _, attributes, _ in read.elements:
        for target in (attributes.get("href", ""), f"#{attributes.get('aria-labelledby', '')}"):
            assert not target.startswith("#") or target == "#" or target[1:] in ids, target
    assert read.all("html") == [{"lang": "en"}]
    assert [len(read.all(tag)) for tag in ("title", "h1", "main", "nav", "footer")] == [1] * 5
    wide = [parents for tag, _, parents in read.elements if tag == "table"]
    assert len(wide) > 3
    loose = [p for p in wide if "div.scroll" not in p]
    assert len(loose) == 1  # the claims, which turn into cards where it is narrow
    assert all("div.sheet" in parents for tag, _, parents in read.elements if tag == "img")


def _text(html: str) -> str:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html)).replace("&nbsp;", " ")
    return text.replace("&#39;", "'").replace("&#34;", '"')


def test_the_page_tells_every_claim(page: str, committed: list[Report]) -> None:
    text = _text(page)
    told = [claim for found in committed for claim in found.claims]
    for claim in told:
        assert claim.sentence in text
        assert str(claim.quantity) in text
        assert claim.paper in text
        assert f"{claim.verdict} {claim.reason}" in text
    verdicts = re.findall(r'<span class="verdict \w+">([a-z ]+)</span>', page)
    assert Counter(verdicts) == Counter(claim.verdict for claim in told)


def test_the_first_screen_has_the_scale_and_what_fails(page: str, committed: list[Report]) -> None:
    first = _text(page[page.index("<header class=") : page.index("</header>")])
    assert "The Inception networks are small, and none was trained at ImageNet's scale" in first
    failing = [(f, c) for f in committed for c in f.claims if c.verdict == "does not hold"]
    assert failing
    for found, claim in failing:
        row = (claim.sentence, claim.paper or "-", claim.quantity, claim.reason, found.name)
        assert " ".join(map(str, row)) in first


def test_claims_are_filtered_by_verdict_without_a_script(page: str) -> None:
    read = _Page(page)
    radios = [a["id"] for a in read.all("input") if a["type"] == "radio" and a["name"] == "verdict"]
    assert radios == ["only-all", "only-holds", "only-fails", "only-open", "only-closed"]
    for kind in ("holds", "fails", "open", "closed"):
        hides = f"#claims:has(#only-{kind}:checked) tr.claim:not(.is-{kind})"
        assert hides in page
    rows = [a["class"].split() for a in read.all("tr") if "class" in a]
    assert rows
    assert all(
        row[0] == "claim" and row[1][3:] in ("holds", "fails", "open", "closed") for row in rows
    )
    assert {"href": "#top", "class": "top-link"} in read.all("a")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def checkout(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the README's marks and one study's results, as the commands see it."""
    study = getattr(request, "param", "weight_scale")
    shutil.copytree(ROOT / "results" / study, tmp_path / "results" / study)
    (tmp_path / "README.md").write_text(MARKS)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(command, "overrides", lambda: [f"runs={tmp_path / 'runs'}"])
    return tmp_path


def _report(**changes: str) -> int:
    return command.main(replace(compose([]), **changes))


def test_make_report_changes_no_byte_of_a_clean_checkout(checkout: Path, capsys) -> None:
    folder = checkout / "results" / "weight_scale"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert _report() == command.COMPLETED
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "make report"
    said = capsys.readouterr()
    assert ", ".join(PAGES) in said.out
    assert said.err == ""
    (found,) = command.committed()
    assert f"## {found.title}\n" in (checkout / "results/REPORT.md").read_text()


def test_a_report_mends_what_can_be_mended_and_says_so(checkout: Path, capsys) -> None:
    folder = checkout / "results" / "weight_scale"
    names = ("runs.csv", "claims.json", "README.md")
    before = [(folder / name).read_text() for name in names]
    stranger = re.sub(
        r"^mnist/baseline,\w+,", "mnist/baseline,00000000,", before[0].splitlines()[1]
    )
    (folder / "runs.csv").write_text(f"{before[0]}{stranger}\n")
    (folder / "claims.json").write_text("[{")
    command.report_study(compose(["study=weight_scale"]), command.overrides())
    assert [(folder / name).read_text() for name in names] == before
    said = capsys.readouterr().err
    assert (
        f"warning: {folder}/runs.csv: 1 of its rows are of no run that study weight_scale" in said
    )
    assert "00000000" in said


def _refused(**changes: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        _report(**changes)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("checkout", ["fig1_rates"], indirect=True)
def test_what_cannot_be_reported_is_said_in_a_line(checkout: Path) -> None:
    folder = checkout / "results" / "fig1_rates"
    kept = (folder / "runs.csv").read_text()
    (checkout / "README.md").write_text("# A\n")
    assert f"{checkout}/README.md: expected one line <!-- results" in _refused()
    (checkout / "README.md").write_text(MARKS)

    (folder / "runs.csv").write_text(kept.replace("experiment,id", "experiment,name"))
    assert f"{folder}/runs.csv: not rows of runs ('id')" in _refused()
    (folder / "runs.csv").write_text(kept.replace("final_top1", "top1"))
    assert f"{folder}/runs.csv: not rows of runs ('final_top1')" in _refused()
    (folder / "runs.csv").write_text(kept[: len(kept) // 2])
    assert f"{folder}/runs.csv: not readable" in _refused()
    (folder / "runs.csv").unlink()
    assert f"{folder}: claims.json without runs.csv; restore it" in _refused()

    (folder / "claims.json").unlink()
    assert "nothing to report" in _refused()
    assert "study=fig1" in _refused()
    (checkout / "results" / "nosuch").mkdir()
    (checkout / "results" / "nosuch" / "runs.csv").write_text(kept)
    assert f"{checkout}/results/nosuch: no study of this name" in _refused()
    shutil.rmtree(checkout / "results")
    assert "nothing to report" in _refused()


def test_the_paper_is_covered_assertion_by_assertion(committed: list[Report]) -> None:
    known = {path.stem for path in (ROOT / "configs" / "study").glob("*.yaml")}
    named = {name for row in ASSERTIONS for name in row.studies}
    assert named <= known
    assert {report.name for report in committed} <= named
    assert all(row.studies or row.why for row in ASSERTIONS)
    sections = [float(row.section.split(",")[0].replace("abstract", "0")[:3]) for row in ASSERTIONS]
    assert sections == sorted(sections)


@pytest.mark.usefixtures("drawn_once")
def test_an_assertion_shows_the_studies_that_have_results(make_run, tmp_path: Path) -> None:
    runs = [make_run(arm, 0, id="m") for arm in ("mnist/baseline", "mnist/bn")]
    shown = Overview([report.write("fig1", runs, tmp_path / "fig1")]).assertions
    assert {name for row in shown for name in row.studies} == {"fig1"}
