"""Check an SVG picture from a file, and write it again so that a page can contain it safely.

A picture is refused when it has anything that is not listed here. Nothing is left out silently: the
author would see another picture and not know why. What passes is written again from what was read,
so that a browser, which reads pages by other rules than XML, finds exactly what was checked.
"""

from __future__ import annotations

import re
from html import escape
from xml.parsers import expat

SHAPES = "g line polyline polygon path rect circle ellipse text tspan title desc"
"""The allowed elements inside of svg: no script, style, link, image or animation."""

ATTRIBUTES = """
x y dx dy x1 y1 x2 y2 cx cy r rx ry width height points d transform viewBox class role fill
stroke stroke-width stroke-linejoin stroke-linecap stroke-dasharray opacity fill-opacity
stroke-opacity font-size font-weight font-style text-anchor dominant-baseline aria-label
"""
"""The allowed attributes: no event handler, style, address or id."""

VALUE = re.compile(r"[-+#%.,\w\s]*", re.ASCII)
"""Numbers, words and colours. Without brackets and \\ there is no url(...), however written."""

TRANSFORM = re.compile(r"([a-zA-Z]+\([-+.,\de\s]*\)\s*)*", re.ASCII)
CLASS = re.compile(r"fig|ink|muted|rule|m\d+")
"""The classes of `glta.pictures.svg.figure_style`; others could hide or cover parts of the page."""

SVG = "http://www.w3.org/2000/svg"


def safe_svg(text: str) -> str:
    """Return the picture with equal shapes and texts, in a form that a page can contain.

    text: one element svg with viewBox and aria-label, as XML; the name space may be absent. The
    result has the class "fig", which gives it the font of the figures. Raises ValueError for a
    picture that is not well-formed or has anything that is not listed in this file.
    """
    writer = _Writer()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = writer.start
    parser.EndElementHandler = writer.end
    parser.CharacterDataHandler = writer.text
    # without a document type there are no entities: none that expand to gigabytes or name a file
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.ProcessingInstructionHandler = _refuse_instruction
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise ValueError(f"the picture is not well-formed XML: {error}; escape its texts") from None
    return "".join(writer.parts)


class _Writer:
    """Check each element as it is read, and write it again as both XML and HTML read it."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.open: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.removeprefix(f"{SVG} ")
        if not self.open:
            if name != "svg" or not {"viewBox", "aria-label"} <= attributes.keys():
                raise ValueError(
                    "the picture is not an element svg with a viewBox and an aria-label, which is "
                    "what a screen reader says"
                )
            attributes = {"class": "fig", "role": "img"} | attributes
        elif name not in SHAPES.split():
            raise ValueError(
                f"the picture has the element {name!r}, which may not be in a page; use only "
                f"{SHAPES}"
            )
        elif self.open[-1] in ("title", "desc"):
            raise ValueError(f"the picture has an element in its {self.open[-1]}; write text alone")
        for key, value in attributes.items():
            _check_attribute(key, value)
        self.open.append(name)
        written = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
        self.parts.append(f"<{name}{written}>")

    def end(self, _: str) -> None:
        self.parts.append(f"</{self.open.pop()}>")

    def text(self, content: str) -> None:
        # elsewhere text is not drawn, and is only the line breaks between shapes
        if self.open[-1] in ("text", "tspan", "title", "desc"):
            self.parts.append(escape(content))


def _check_attribute(key: str, value: str) -> None:
    if key not in ATTRIBUTES.split():
        raise ValueError(
            f"the picture has the attribute {key.rpartition(' ')[2]!r}, which may not be in a "
            "page; give its place, shape and colour by attributes of their own, without style, id "
            "and address"
        )
    if key == "class":
        good = all(CLASS.fullmatch(word) for word in value.split())
    elif key == "transform":
        good = bool(TRANSFORM.fullmatch(value))
    else:
        good = key == "aria-label" or bool(VALUE.fullmatch(value))
    if not good:
        raise ValueError(
            f"the picture has {key}={value[:40]!r}; a class is one of fig, ink, muted, rule, m0, "
            "m1, ...; other values are numbers, words and colours such as #395580"
        )


def _refuse_doctype(*_: object) -> None:
    raise ValueError("the picture has a document type; leave it out, as it can name other files")


def _refuse_instruction(*_: object) -> None:
    raise ValueError("the picture has a processing instruction <?...?>; leave it out")
