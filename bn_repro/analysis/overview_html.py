"""All studies at once as one page, ``results/report.html``, that needs no file beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markupsafe import Markup

from bn_repro.analysis import overview, readme, results
from bn_repro.analysis.overview import Told

PAGE = "results/report.html"
TEMPLATE = "overview.html.j2"


def write(root: Path, told: Sequence[Told]) -> Path:
    """Writes ``results/report.html`` under ``root``."""
    return results.write(root / PAGE, page(told, root / "results"))


def page(told: Sequence[Told], folder: Path) -> str:
    """The page; ``folder`` has each study's folder with its figures, which the page takes in."""
    told = overview.in_order(told)
    markdown = _markdown()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["line"] = lambda text: _tight(markdown.renderInline(text))
    environment.filters["blocks"] = lambda text, label: _tight(
        markdown.render(text, {"label": label})
    )
    return environment.get_template(TEMPLATE).render(
        told=told,
        overview=overview,
        commands=lambda t: readme.commands(t.study, t.name),
        picture=lambda t, figure: _picture(folder / t.name / f"{figure}.svg"),
        verdicts=overview.count_verdicts(told),
    )


def _markdown() -> MarkdownIt:
    """Markdown as the studies write it; a table scrolls on its own where it is too wide."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

    def opened(self: RendererHTML, tokens: Any, at: int, options: Any, env: Any) -> str:
        label = Markup.escape(env.get("label", "table"))
        return f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>\n'

    markdown.add_render_rule("table_open", opened)
    markdown.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return markdown


def _tight(rendered: str) -> Markup:
    """No line ends between a number and its percent sign."""
    return Markup(rendered.replace(" %", "&nbsp;%"))


def _picture(path: Path) -> dict[str, str]:
    """A figure as the attributes of an ``img``: its bytes, and its size in pixels."""
    content = path.read_bytes()
    box = re.search(rb'viewBox="0 0 ([\d.]+) ([\d.]+)"', content)
    if box is None:
        raise ValueError(f"{path}: no figure of this project; remove it, and report its study anew")
    width, height = (str(round(float(side) * 4 / 3)) for side in box.groups())
    data = base64.b64encode(content).decode()
    return {"src": f"data:image/svg+xml;base64,{data}", "width": width, "height": height}
