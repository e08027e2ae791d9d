"""The picture in a model card: rewards by step, as SVG that needs no library and no style sheet.

It is the same for the same numbers, and legible on a light page as on a dark one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from agentscope_tuner.visible import visible

Points = Sequence[tuple[float, float]]
"""Step and value."""

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 300, 56, 14, 30
COLOURS = ("#3b82c4", "#d9730d", "#8a5cc2", "#0f8a7e")
GREY = "#808080"


def draw_curve(training: tuple[str, Points], held_out: Mapping[str, Points]) -> str:
    """The curve of a run as SVG: the training metric of a name, and the held-out sets' points."""
    name, line = training
    curves = {name: line, **{f"{of} (held out)": points for of, points in held_out.items()}}
    known = [point for points in curves.values() for point in points]
    steps, values = zip(*known, strict=True) if known else ((0.0,), (0.0,))
    first, last, low, high = min(steps), max(steps), min(values), max(values)

    def x(step: float) -> float:
        return LEFT + (step - first) / ((last - first) or 1) * (WIDTH - LEFT - 24)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)

    def text(at_x: float, at_y: float, said: str, anchor: str, colour: str = GREY) -> str:
        place = f'x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}" fill="{colour}"'
        return f"<text {place}>{escape(visible(said))}</text>"

    parts = [
        f'<line x1="{LEFT}" y1="{y(v):.1f}" x2="{WIDTH - 24}" y2="{y(v):.1f}" stroke="{GREY}" '
        f'stroke-opacity="0.35"/>{text(LEFT - 8, y(v) + 4, f"{v:.3g}", "end")}'
        for v in dict.fromkeys((low, high))
    ]
    for at, (label, points) in enumerate(curves.items()):
        colour, path = COLOURS[at % len(COLOURS)], [(x(step), y(value)) for step, value in points]
        route = " ".join(f"{a:.1f},{b:.1f}" for a, b in path)
        width = 1 if at == 0 else 2
        parts.append(
            f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )
        for a, b in path if at else ():
            parts.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}"/>')
        parts.append(text(WIDTH - 28, HEIGHT - BOTTOM - 10 - 18 * at, label, "end", colour))
    parts += [
        text(x(first), HEIGHT - 8, f"step {first:g}", "start"),
        text(x(last), HEIGHT - 8, f"{last:g}", "end"),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    return f'{head}font-family="sans-serif" font-size="13">\n' + "\n".join(parts) + "\n</svg>\n"
