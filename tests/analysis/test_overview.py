"""What README.md, REPORT.md and the page tell is what the files say, byte for byte."""

from __future__ import annotations

import base64
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from support import ROOT

from bn_repro import paper
from bn_repro.analysis import (
    claims,
    overview,
    overview_html,
    overview_markdown,
    readme,
    report,
    results,
)
from bn_repro.analysis.overview import Told
from bn_repro.analysis.studies import default, fig1, module_of
from bn_repro.analysis.tables import Member
from bn_repro.cli import report as command
from bn_repro.config.compose import compose

README = ROOT / "README.md"
REPORT = ROOT / "results" / "REPORT.md"
STUDIES = sorted(path.parent for path in (ROOT / "results").glob("*/runs.csv"))
MARKS = f"# A\n\n{overview_markdown.BEGIN}\n{overview_markdown.END}\n\nZ\n"


def _told_from_rows(folder: Path) -> Told:
    """A study from its committed rows alone: its claims judged anew, nothing taken from prose but
    the number of its runs, which only the study's blocks know."""
    data = results.read(folder, folder.name)
    study = module_of(folder.name)
    if getattr(study, "EXTRA", ""):
        data.extra = results.read_extra(folder / study.EXTRA)
    planned = re.search(r"- Runs: \d+, of (\d+) ", (folder / "README.md").read_text())
    missing = int(planned[1]) - len(data.members) if planned else 0
    members = [*data.members, *(Member("not yet", str(i), 0) for i in range(missing))]
    whole = f"of at least {len(members)} runs" not in REPORT.read_text()
    return overview.read(folder.name, folder, members, study.claims(data), whole)


@pytest.fixture(scope="module")
def committed() -> list[Told]:
    """All studies under results/."""
    return [_told_from_rows(folder) for folder in STUDIES]


def test_the_committed_texts_are_what_the_rows_say(committed: list[Told]) -> None:
    section = f"{overview_markdown.BEGIN}\n\n{overview_markdown.section(committed)}\n\n"
    assert f"{section}{overview_markdown.END}\n" in README.read_text(), "make report"
    assert overview_markdown.report(committed) == REPORT.read_text(), "make report"


def test_the_committed_verdicts_are_what_the_rows_say(committed: list[Told]) -> None:
    for told in committed:
        folder = ROOT / "results" / told.name
        assert claims.to_json(told.claims) == (folder / results.CLAIMS).read_text(), told.name
        assert readme.claims_table(told.claims) in (folder / results.README).read_text(), told.name


@pytest.mark.parametrize("field", ["estimate", "low", "n", "verdict"])
def test_a_number_that_is_off_shows(committed: list[Told], field: str) -> None:
    told = committed[0]
    other = {"estimate": 0.987, "low": -0.5, "n": 77, "verdict": "does not hold"}[field]
    changed = replace(told.claims[0], **{field: other})
    off = [replace(told, claims=[changed, *told.claims[1:]]), *committed[1:]]
    assert overview_markdown.report(off) != REPORT.read_text()
    assert overview_markdown.section(off) not in README.read_text()


def test_a_run_that_is_missing_shows(committed: list[Told]) -> None:
    told = committed[0]
    data = replace(told.data, runs=told.data.runs.iloc[1:])
    off = [replace(told, data=data), *committed[1:]]
    assert f"{len(data.runs)} of {told.planned} runs" in overview_markdown.section(off)
    assert overview_markdown.report(off) != REPORT.read_text()


def test_the_paper_is_asked_for_what_there_is(committed: list[Told]) -> None:
    for told in committed:
        ids = {claim.id for claim in told.claims}
        assert paper.CLAIMS.get(told.name, {}).keys() <= ids, told.name
        captions = getattr(told.study, "CAPTIONS", None)
        assert captions is None or set(told.figures) <= set(captions), told.name
    names = {path.stem for path in (ROOT / "bn_repro/analysis/studies").glob("[a-z]*.py")}
    assert names & set(paper.STUDIES) >= {"fig1", "fig3", "fig4", "ablation_421"}


# --- made-up runs ---------------------------------------------------------------------------------


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure and findings that take no time."""
    monkeypatch.setattr(fig1, "figures", lambda data: {"figure1": Figure(figsize=(2, 1))})
    monkeypatch.setattr(fig1, "findings", lambda data: "- Found.")


def _reported(root: Path, members: Sequence[Member], whole: bool = True) -> Told:
    out = root / "results" / "fig1"
    written = report.write("fig1", members, out)
    return overview.read("fig1", out, members, written.claims, whole)


def _some(make_run, seeds: int = 3) -> list[Member]:
    arms = ("mnist/baseline", "mnist/bn")
    return [make_run(arm, s, steps=3_000) for arm in arms for s in range(seeds)]


@pytest.mark.usefixtures("light")
def test_written_again_it_is_the_same(make_run, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(MARKS)
    members = _some(make_run)
    pages = [
        tmp_path / "README.md",
        *(tmp_path / "results" / n for n in ("REPORT.md", "report.html")),
    ]
    seen = []
    for _ in range(2):
        told = [_reported(tmp_path, members)]
        overview_markdown.write(tmp_path, told)
        overview_html.write(tmp_path, told)
        seen.append([page.read_bytes() for page in pages])
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)  # the second time from rows alone
        pages[1].unlink()
        pages[2].unlink()
    assert seen[0] == seen[1]
    text = pages[0].read_text()
    assert text.startswith("# A\n")
    assert text.endswith("\n\nZ\n")
    told_of = (
        "](results/fig1/README.md)**, `python scripts/train.py study=fig1`: 6 runs, 26 s a run"
    )
    assert told_of in text.replace("\n", " ")


@pytest.mark.usefixtures("light")
def test_an_unfinished_study_is_told_as_unfinished(make_run, tmp_path: Path) -> None:
    members = [*_some(make_run), Member("mnist/bn", "1e234567", 3)]
    for whole, words in ((True, "6 of 7 runs"), (False, "6 of at least 7 runs")):
        told = [_reported(tmp_path, members, whole)]
        assert f"**Not finished:** {fig1.TITLE} ({words})." in overview_markdown.report(told)
        assert f"**not finished**, {words}, " in overview_markdown.section(told)
        assert f"not finished: {words}" in overview_html.page(told, tmp_path / "results")
    complete = [_reported(tmp_path, members[:-1])]
    assert "ot finished" not in overview_markdown.report(complete).split("## Claims")[0]
    assert "not finished" not in overview_markdown.section(complete)


@pytest.mark.usefixtures("light")
def test_a_study_that_nothing_names_is_told_last(make_run, tmp_path: Path, monkeypatch) -> None:
    told = _reported(tmp_path, _some(make_run))
    new = replace(told, data=replace(told.data, name="a_new_study"))
    for word in ("CAPTIONS", "IN_SHORT", "summary"):
        monkeypatch.delattr(fig1, word)
    assert [t.name for t in overview.in_order([new, told])] == ["fig1", "a_new_study"]
    text = overview_markdown.report([new, told])
    assert text.index("(a_new_study/README.md)") > text.index("(fig1/README.md)")
    assert f"![{fig1.TITLE}.](a_new_study/figure1.svg)" in text
    assert "The paper prints neither the learning rate nor" in text  # its first deviation


@pytest.mark.usefixtures("light")
def test_a_study_without_a_module_of_its_own_claims_nothing(make_run, tmp_path: Path) -> None:
    told = _reported(tmp_path, _some(make_run))
    new = replace(told, study=default, claims=[], data=replace(told.data, name="plain"))
    assert new.title == "Study plain"
    shutil.copytree(tmp_path / "results" / "fig1", tmp_path / "results" / "plain")
    page = overview_html.page([told, new], tmp_path / "results")
    alone = overview_html.page([told], tmp_path / "results")
    assert page.count("<tbody") - alone.count("<tbody") == 1  # of its runs, none of claims
    text = overview_markdown.section([told, new])
    assert text.count("| verdict |") == 1
    assert "**[Study plain](results/plain/README.md)**, `python" in text
    assert "## Study plain\n" in overview_markdown.report([told, new])


def test_the_papers_number_moves_to_its_column(committed: list[Told]) -> None:
    told = committed[0]
    made = replace(told.claims[0], id="made_up", sentence="It is faster (paper: 9 times), always.")
    row = overview.rows(replace(told, claims=[made]))[0]
    assert (row.sentence, row.paper) == ("It is faster, always.", "9 times")
    assert overview.rows(replace(told, claims=[replace(made, sentence="A.")]))[0].paper == "-"


# --- the page -------------------------------------------------------------------------------------


VOID = ("meta", "link", "img", "br", "hr")


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
def page(committed: list[Told]) -> str:
    return overview_html.page(committed, ROOT / "results")


def test_the_page_needs_nothing_beside_it(page: str) -> None:
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
            loads_nothing = tag == "a" and value.startswith(("#", "https://"))
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


def test_the_page_tells_every_claim(page: str, committed: list[Told]) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page)).replace("&nbsp;", " ")
    text = text.replace("&#39;", "'").replace("&#34;", '"')
    for told in committed:
        assert told.title in text
        for row in overview.rows(told):
            assert row.here in text
            assert row.paper in text
    verdicts = re.findall(r'<span class="verdict \w+">([a-z ]+)</span>', page)
    assert Counter(verdicts) == Counter(c.verdict for told in committed for c in told.claims)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the README's marks and one study's results, as the commands see it."""
    shutil.copytree(ROOT / "results" / "fig1_rates", tmp_path / "results" / "fig1_rates")
    (tmp_path / "README.md").write_text(MARKS)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(command, "overrides", lambda: [f"runs={tmp_path / 'runs'}"])
    return tmp_path


def _report(**changes: str) -> int:
    return command.main(replace(compose([]), **changes))


def test_make_report_changes_no_byte_of_a_clean_checkout(checkout: Path, capsys) -> None:
    folder = checkout / "results" / "fig1_rates"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert _report() == command.COMPLETED
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "make report"
    said = capsys.readouterr()
    assert "results/REPORT.md, README.md, results/report.html" in said.out
    assert said.err == ""
    told = _told_from_rows(ROOT / "results" / "fig1_rates")
    assert (checkout / "results/REPORT.md").read_text() == overview_markdown.report([told])


def test_a_report_mends_what_can_be_mended_and_says_so(checkout: Path, capsys) -> None:
    folder = checkout / "results" / "fig1_rates"
    names = ("runs.csv", "claims.json", "README.md")
    before = [(folder / name).read_text() for name in names]
    stranger = re.sub(
        r"^mnist/baseline,\w+,", "mnist/baseline,00000000,", before[0].splitlines()[1]
    )
    (folder / "runs.csv").write_text(f"{before[0]}{stranger}\n")
    (folder / "claims.json").write_text("[{")
    command.report_study(compose(["study=fig1_rates"]), command.overrides())
    assert [(folder / name).read_text() for name in names] == before
    said = capsys.readouterr().err
    assert f"warning: {folder}/runs.csv: 1 of its rows are of no run that study fig1_rates" in said
    assert "00000000" in said


def _refused(**changes: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        _report(**changes)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_what_cannot_be_reported_is_said_in_a_line(checkout: Path) -> None:
    folder = checkout / "results" / "fig1_rates"
    kept = (folder / "runs.csv").read_text()
    assert "give study=..." in _refused(out="elsewhere")

    (checkout / "README.md").write_text("# A\n")
    assert f"{checkout}/README.md: expected one line <!-- results" in _refused()
    (checkout / "README.md").write_text(MARKS)

    (folder / "runs.csv").write_text(kept.replace("experiment,id", "experiment,name"))
    assert f"{folder}/runs.csv: no column id" in _refused()
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
