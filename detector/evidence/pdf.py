"""An evidence record as PDF pages, by ReportLab; the same record gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from detector.evidence.rendering import Picture, format_ratio
from detector.evidence.validation import describe_validation
from detector.files import printable
from detector.types import Outcome

ONE, TWO, SOFT, LINE = "#b8421c", "#1f5fa8", "#59636d", "#c9ced2"
BREADTH = 487.0  # width of the text, points


def make_pdf(record: Mapping[str, Any], pictures: Sequence[Picture]) -> bytes:
    """Return the pages of one record: conclusion, pictures, findings, validation of the ratio, custody."""
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import SimpleDocTemplate

    plain, bold = _fonts()
    text = _Text(plain, bold)
    story = [
        *_conclusion(record, text), *_pictures(pictures, text), *_findings(record, text),
        text.paragraph("Exhibit and custody", "head"),
        text.rows([*record["exhibit"].items(), ("record, SHA-256", record["sha256"]), *record["made"].items(),
                   *record["components"].items()]),
    ]  # fmt: skip

    def number(canvas: Any, document: Any) -> None:
        canvas.setFont(plain, 7)
        canvas.drawString(54, 30, f"SHA-256 of the record {record['sha256']}")
        canvas.drawRightString(54 + BREADTH, 30, str(document.page))

    buffer = io.BytesIO()
    document = SimpleDocTemplate(buffer, pagesize=A4, leftMargin=54, rightMargin=54, topMargin=48, bottomMargin=48,
                                 title="Evidence report", invariant=1)  # fmt: skip
    document.build(story, onFirstPage=number, onLaterPages=number)
    return buffer.getvalue()


class _Text:
    """Paragraphs and tables in the styles of the report. plain, bold: names of fonts."""

    def __init__(self, plain: str, bold: str) -> None:
        from reportlab.lib.styles import ParagraphStyle

        def style(name: str, font: str, size: float, **rest: Any) -> Any:
            return ParagraphStyle(name, fontName=font, fontSize=size, leading=1.35 * size, **rest)

        self.plain = plain
        self.styles = {
            "text": style("text", plain, 9, spaceAfter=4, wordWrap="CJK"),
            "soft": style("soft", plain, 8, spaceAfter=3, wordWrap="CJK", textColor=SOFT),
            "head": style("head", bold, 11, spaceBefore=10, spaceAfter=4),
            "name": style("name", bold, 9),
            "say": style("say", bold, 15, spaceAfter=8),
        }

    def paragraph(self, text: Any, style: str = "text") -> Any:
        """Return a paragraph; markup in the text is shown as it is."""
        from reportlab.platypus import Paragraph

        return Paragraph(escape(printable(str(text))), self.styles[style])

    def rows(self, pairs: Sequence[tuple[Any, Any]], first: float = 120) -> Any:
        """Return a table of two columns. first: width of the left one, points."""
        from reportlab.platypus import Table

        grid = Table([[self.paragraph(a, "soft"), self.paragraph(b)] for a, b in pairs], [first, BREADTH - first])
        grid.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -2), 0.3, LINE),
                       ("LEFTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 1),
                       ("BOTTOMPADDING", (0, 0), (-1, -1), 0)])  # fmt: skip
        return grid


def _conclusion(r: Mapping[str, Any], text: _Text) -> list[Any]:
    """Return the statement, the propositions, and the ratio if there is one."""
    from reportlab.platypus import Spacer

    c, p = r["conclusion"], text.paragraph
    about = [("case", r["case"]), ("examiner", r["examiner"]), ("made", r["made"]["at"])]
    story: list[Any] = [p(" · ".join(["Evidence report", *(f"{k} {v}" for k, v in about if v)]), "soft"),
                        p(c["statement"], "say")]  # fmt: skip
    story += [p(f"{name}: {proposition}") for name, proposition in r["propositions"].items()]
    if c["log10_lr"] is not None:
        story += [Spacer(1, 4), _gauge(c, text.plain), p(_ratio(c), "soft")]
        shares = [(f"{q['prior']:.1%}", f"{q['posterior']:.2%}") for q in c["posteriors"]]
        story.append(text.rows([("share before", "share after, among pictures like this one"), *shares]))
    return story + [p(f"Outside the validated domain: {reason}") for reason in c["reasons"]]


def _pictures(pictures: Sequence[Picture], text: _Text) -> list[Any]:
    """Return the pictures with their captions, three in a row."""
    from reportlab.platypus import Image, Spacer, Table

    if not pictures:
        return []
    cells = []
    for picture in pictures:
        scale = min(154 / picture.width, 150 / picture.height)
        image = Image(io.BytesIO(picture.jpeg), picture.width * scale, picture.height * scale)
        cells.append([image, Spacer(1, 3), text.paragraph(picture.caption, "soft")])
    lines = [cells[i : i + 3] for i in range(0, len(cells), 3)]
    grid = Table([line + [""] * (3 - len(line)) for line in lines], [BREADTH / 3] * 3)
    grid.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])
    return [text.paragraph("Pictures", "head"), grid]


def _findings(r: Mapping[str, Any], text: _Text) -> list[Any]:
    """Return the findings of the checks, other explanations, limits, and the validation of the ratio."""
    from reportlab.platypus import KeepTogether

    p, found = text.paragraph, r["backing"].get("validation")
    story = [p("Findings", "head")]
    for f in r["findings"]:
        story.append(KeepTogether([
            p(f"{f['check']}: {Outcome(f['outcome']).words}", "name"), p(f["summary"][:1500]), p(f["limits"], "soft"),
        ]))  # fmt: skip
    story += [p("Other explanations", "head"), *(p(f"• {line}") for line in r["conclusion"]["alternatives"])]
    story += [p("Limits", "head"), *(p(f"• {line}") for line in [*r["limits"], *r["backing"].get("limits", [])])]
    if found:
        story.append(
            KeepTogether([p("What the ratio rests on", "head"), p(_backing(found)), _curves(found, text.plain)])
        )
        aucs = [(f"{name} ({found['fake'][name]})", f"{auc:.3f}") for name, auc in found["auc"].items()]
        story.append(text.rows([("generator", "AUC"), *aucs]))
    return story


def _fonts() -> tuple[str, str]:
    """Return the names of a plain and a bold font; those of matplotlib, which have many scripts, if it is installed."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    spec = find_spec("matplotlib")
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" if spec and spec.origin else Path()
    if not (folder / "DejaVuSans.ttf").is_file():
        return "Helvetica", "Helvetica-Bold"
    for name in ("DejaVuSans", "DejaVuSans-Bold"):
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, folder / f"{name}.ttf"))
    return "DejaVuSans", "DejaVuSans-Bold"


def _ratio(c: Mapping[str, Any]) -> str:
    low, high = c["bounds"]
    return (
        f"log10 likelihood ratio {format_ratio(c)}. The calibration set supports no ratio outside "
        f"[{low:.2f}, {high:.2f}] (grey). The interval only covers the uncertainty of the calibration line."
    )


def _backing(found: Mapping[str, Any]) -> str:
    return (
        f"{found['real']} photographs and {sum(found['fake'].values())} generated faces that were not used for "
        f"calibration. {describe_validation(found)}"
    )


def _gauge(c: Mapping[str, Any], font: str) -> Any:
    """Return a line from -4 to 4 with bounds, interval and ratio."""
    from reportlab.graphics.shapes import Circle, Drawing, Line, Rect, String
    from reportlab.lib.colors import HexColor

    drawing, middle, unit = Drawing(BREADTH, 44), BREADTH / 2, BREADTH / 2 / 4.3
    colour = HexColor(ONE if c["log10_lr"] > 0 else TWO)
    low, high = (max(-4.0, min(4.0, b)) for b in c["bounds"])
    drawing.add(Rect(middle - 4 * unit, 20, 8 * unit, 6, fillColor=HexColor("#e6e9ec"), strokeColor=None))
    drawing.add(Rect(middle + low * unit, 20, (high - low) * unit, 6, fillColor=HexColor("#a9b0b6"), strokeColor=None))
    if c["interval"] is not None:
        left, right = c["interval"]
        drawing.add(Rect(middle + left * unit, 18, max((right - left) * unit, 1.5), 10, fillColor=colour,
                         fillOpacity=0.45, strokeColor=None))  # fmt: skip
    drawing.add(Line(middle, 14, middle, 32, strokeWidth=0.7))
    drawing.add(Circle(middle + c["log10_lr"] * unit, 23, 5, fillColor=colour, strokeColor=None))
    for tick in range(-4, 5):
        drawing.add(String(middle + tick * unit, 4, str(tick), fontName=font, fontSize=7, textAnchor="middle"))
    drawing.add(String(middle - 4 * unit, 35, "supports H2", fontName=font, fontSize=7))
    drawing.add(String(middle + 4 * unit, 35, "supports H1", fontName=font, fontSize=7, textAnchor="end"))
    return drawing


def _curves(found: Mapping[str, Any], font: str) -> Any:
    """Return ROC and Tippett plot side by side."""
    from reportlab.graphics.shapes import Drawing, PolyLine, Rect, String
    from reportlab.lib.colors import HexColor

    drawing, side, high = Drawing(BREADTH, 160), 190.0, 120.0
    tippett = found["tippett"]
    low, top = tippett["H1"][0][0], tippett["H1"][-1][0]
    two = [(tippett["H1"], ONE), (tippett["H2"], TWO)]
    plots = [
        (30.0, "ROC: true-positive rate over false-positive rate", 0.0, 1.0, [(found["roc"], ONE)]),
        (270.0, "Tippett: share above a log10 ratio (red: H1 true)", low, top, two),
    ]
    for left, title, start, end, curves in plots if top > low else plots[:1]:

        def across(value: float, left: float = left, start: float = start, end: float = end) -> float:
            return left + side * (min(max(value, start), end) - start) / (end - start)

        drawing.add(Rect(left, 22, side, high, fillColor=None, strokeColor=HexColor(LINE)))
        drawing.add(String(left, 148, title, fontName=font, fontSize=7))
        for value in (start, end):
            drawing.add(String(across(value), 12, f"{value:g}", fontName=font, fontSize=7, textAnchor="middle"))
        for points, colour in curves:
            flat = [v for x, y in points for v in (across(x), 22 + high * y)]
            drawing.add(PolyLine(flat, strokeColor=HexColor(colour), strokeWidth=1.3))
    return drawing
