"""What all pages share: the template environment, and plots that follow the reader's light or dark."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import escape

from mdlc_assets import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Fixed colours of a plot become the page's own: text and axes, and the palette, which is lighter on dark.
_THEMED = {
    "#000000": "var(--text)",
    "#cccccc": "var(--line)",
    "#b0b0b0": "var(--line)",
    "#ffffff": "var(--back)",
    plots.BLUE.lower(): "var(--blue)",
    plots.ORANGE.lower(): "var(--orange)",
    plots.GREEN.lower(): "var(--green)",
    plots.RED.lower(): "var(--red)",
    plots.GREY.lower(): "var(--grey)",
}
_UNSEEN = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_FONT = re.compile(r"font-family: [^;\"]*")


@cache
def environment() -> jinja2.Environment:
    """Templates of this folder; everything written is escaped, what is not known is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def themed_svg(figure: Figure, label: str) -> str:
    """The figure as `<svg>` in the page's colours, with a name for those who cannot see it."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    svg = plots.as_svg(figure)
    for fixed, variable in _THEMED.items():
        svg = svg.replace(f": {fixed}", f": {variable}").replace(f'="{fixed}"', f'="{variable}"')
    svg = _UNSEEN.sub("", svg)
    svg = _FONT.sub("font-family: inherit", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" fill="var(--text)" ', 1)
