"""A timeline as an SVG picture: a lane for each node, broker, agent and job."""

from html import escape
from typing import Final

from workrs.faults.timeline import Bar, Timeline

WIDTH: Final = 960
_LEFT: Final = 120
_LANE: Final = 22
_TOP: Final = 44
_BOTTOM: Final = 40
_AGENTS: Final = ("#4e79a7", "#59a14f", "#b07aa1", "#edc948", "#76b7b2", "#9c755f")
_SVG: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    'font-family="sans-serif" font-size="11">'
)
_BARS: Final = {"down": "#e15759", "stopped": "#f28e2b", "unreachable": "#f6c1c1"}
_MARKS: Final = {
    "fault": ("#c00000", "M-5,-6 L5,-6 L0,6 Z"),
    "heal": ("#2e7d32", "M-5,6 L5,6 L0,-6 Z"),
    "will": ("#7b1fa2", "M0,-6 L5,0 L0,6 L-5,0 Z"),
    "grant": ("#202020", "M-1,-9 L1,-9 L1,9 L-1,9 Z"),
    "takeover": ("#1a4fb0", "M-6,-6 L6,0 L-6,6 Z"),
    "running": ("#2e7d32", "M-4,-4 L4,-4 L4,4 L-4,4 Z"),
    "outcome": ("#202020", "M-5,0 A5,5 0 1,0 5,0 A5,5 0 1,0 -5,0 Z"),
    "note": ("#777777", "M-3,-3 L3,-3 L3,3 L-3,3 Z"),
}


def draw(line: Timeline) -> str:
    """Return the picture's text. Times below it count from the fault."""
    height = _TOP + _LANE * len(line.lanes) + _BOTTOM
    parts = [
        _SVG.format(width=WIDTH, height=height),
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="8" y="16" font-size="13" font-weight="bold">{escape(line.title)}</text>',
        *_legend(),
    ]
    for place, lane in enumerate(line.lanes):
        y = float(_TOP + _LANE * place)
        shade = "#f5f5f5" if place % 2 else "#ffffff"
        parts.append(f'<rect x="0" y="{y:g}" width="{WIDTH}" height="{_LANE}" fill="{shade}"/>')
        parts.append(f'<text x="8" y="{y + 15:g}">{escape(lane)}</text>')
    parts += _axis(line, height)
    colours = _colours(line)
    parts += [_bar(line, bar, colours) for bar in line.bars if bar.lane in line.lanes]
    for mark in line.marks:
        if mark.lane in line.lanes:
            colour, shape = _MARKS.get(mark.kind, _MARKS["note"])
            x, y = _x(line, mark.at_s), _y(line, mark.lane) + _LANE / 2
            told = escape(f"{mark.kind} {mark.text} at {mark.at_s - line.fault_s:+.2f} s")
            parts.append(
                f'<path d="{shape}" transform="translate({x:.1f},{y:.1f})" fill="{colour}">'
                f"<title>{told}</title></path>"
            )
    return "\n".join([*parts, "</svg>", ""])


def _colours(line: Timeline) -> dict[str, str]:
    agents = sorted({bar.text for bar in line.bars if bar.kind in {"lease", "running"}})
    return {agent: _AGENTS[place % len(_AGENTS)] for place, agent in enumerate(agents)}


def _x(line: Timeline, at_s: float) -> float:
    inside_s = min(max(at_s, line.from_s), line.to_s) - line.from_s
    return _LEFT + (WIDTH - _LEFT - 12) * inside_s / (line.to_s - line.from_s)


def _y(line: Timeline, lane: str) -> float:
    return _TOP + _LANE * line.lanes.index(lane)


def _bar(line: Timeline, bar: Bar, colours: dict[str, str]) -> str:
    left, right = _x(line, bar.from_s), _x(line, bar.to_s)
    y, height, opacity = _y(line, bar.lane) + 4, _LANE - 8, 0.75
    if bar.kind == "lease":
        height, opacity = 6, 0.45
    elif bar.kind == "running":
        y, height = y + 8, 6
    colour = _BARS.get(bar.kind) or colours[bar.text]
    told = escape(
        f"{bar.kind} {bar.text} {bar.from_s - line.fault_s:+.2f} to "
        f"{bar.to_s - line.fault_s:+.2f} s"
    )
    label = ""
    if bar.kind == "lease" and right - left > 24:
        label = f'<text x="{left + 2:.1f}" y="{y + 6}" font-size="8">{escape(bar.text)}</text>'
    return (
        f'<rect x="{left:.1f}" y="{y:.1f}" width="{max(1.0, right - left):.1f}" '
        f'height="{height}" fill="{colour}" opacity="{opacity}"><title>{told}</title></rect>{label}'
    )


def _axis(line: Timeline, height: int) -> list[str]:
    span_s = line.to_s - line.from_s
    step_s = next(s for s in (0.5, 1, 2, 5, 10, 20, 60, 300, 3600) if span_s / s <= 16 or s == 3600)
    parts = []
    number = int((line.from_s - line.fault_s) / step_s)
    while (at_s := line.fault_s + number * step_s) <= line.to_s:
        if at_s >= line.from_s:
            x = _x(line, at_s)
            parts.append(
                f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{height - _BOTTOM}" '
                f'stroke="#dddddd"/><text x="{x:.1f}" y="{height - _BOTTOM + 14}" '
                f'text-anchor="middle">{number * step_s:g} s</text>'
            )
        number += 1
    x = _x(line, line.fault_s)
    parts.append(
        f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{height - _BOTTOM}" '
        'stroke="#c00000" stroke-dasharray="3,3"/>'
    )
    return parts


def _legend() -> list[str]:
    parts, x = [], 8
    for kind, colour in _BARS.items():
        parts.append(f'<rect x="{x}" y="26" width="12" height="8" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="34">{kind}</text>')
        x += 24 + 7 * len(kind)
    for kind, (colour, shape) in _MARKS.items():
        parts.append(f'<path d="{shape}" transform="translate({x + 6},30)" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="34">{kind}</text>')
        x += 26 + 7 * len(kind)
    return parts
