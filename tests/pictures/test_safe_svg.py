"""Only shapes and texts pass into a page; everything that could act or load is refused."""

import re
from xml.etree import ElementTree

import pytest

from glta.pictures.safe_svg import safe_svg
from glta.pictures.svg import Drawing

HEAD = '<svg viewBox="0 0 9 9" aria-label="a picture"'


def picture(inside: str, *, head: str = HEAD) -> str:
    return f"{head}>{inside}</svg>"


def full_drawing() -> Drawing:
    """Use every shape that a drawing has."""
    drawing = Drawing(200, 90, "Codes <of> items", 'Two & "more"')
    drawing.text(1, 2, "a < b", bold=True, anchor="middle")
    drawing.line((0, 0), (3, 4))
    drawing.path([(0, 0), (1, 2)], kind="m1", opacity=0.5)
    drawing.bar(0, 0, 5, 5, kind="muted", tip="a & b")
    for index in range(13):
        drawing.mark(9, 9, index, hollow=index % 2 == 0)
    drawing.box(5, 5, width=60, kind="m2", lines=["one", "two"], tip="tip")
    drawing.arrow([(0, 0), (20, 10), (40, 20)])
    return drawing


def elements(svg: str) -> list[tuple[str, dict[str, str], str]]:
    found = ElementTree.fromstring(svg).iter()
    return [(e.tag, {**e.attrib, "role": "img"}, e.text or "") for e in found][1:]


def test_a_drawing_passes_whole_and_stays_as_it_is():
    svg = full_drawing().svg()
    safe = safe_svg(svg)
    assert elements(safe) == elements(svg) and len(elements(svg)) > 25
    assert safe_svg(safe) == safe
    assert safe.startswith('<svg class="fig" role="img" viewBox="0 0 200 90" aria-label=')


def test_the_name_space_and_its_prefix_are_left_out():
    """Browsers know no prefixes in a page, so that s:rect would be another element there."""
    head = '<s:svg xmlns:s="http://www.w3.org/2000/svg" viewBox="0 0 9 9" aria-label="a"'
    safe = safe_svg(f'{head}><s:rect x="1"/></s:svg>')
    assert safe.endswith('aria-label="a"><rect x="1"></rect></svg>')


def test_texts_are_written_as_text():
    safe = safe_svg(picture("<text>&lt;script&gt;<![CDATA[</svg><script>]]></text>stray"))
    assert "<text>&lt;script&gt;&lt;/svg&gt;&lt;script&gt;</text></svg>" in safe


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("<script>alert(1)</script>", "the element 'script'"),
        ('<x:script xmlns:x="http://www.w3.org/2000/svg">1</x:script>', "the element 'script'"),
        ('<script xmlns="http://www.w3.org/1999/xhtml">1</script>', "xhtml script'"),
        ("<style>@import 'https://a.b/c'</style>", "the element 'style'"),
        ("<foreignObject><p>a</p></foreignObject>", "the element 'foreignObject'"),
        ('<a href="javascript:alert(1)"><text>a</text></a>', "the element 'a'"),
        ('<image href="https://a.b/c.png"/>', "the element 'image'"),
        ('<use href="#mark-0"/>', "the element 'use'"),
        ('<set attributeName="href" to="javascript:alert(1)"/>', "the element 'set'"),
        ("<svg></svg>", "the element 'svg'"),
        ("<RECT/>", "the element 'RECT'"),
        ("<title><rect/></title>", "an element in its title"),
        ('<rect onclick="alert(1)"/>', "the attribute 'onclick'"),
        ('<rect style="fill:url(https://a.b)"/>', "the attribute 'style'"),
        ('<rect id="lineage"/>', "the attribute 'id'"),
        ('<g xmlns:l="http://www.w3.org/1999/xlink" l:href="#a"/>', "the attribute 'href'"),
        ('<rect fill="url(https://a.b/c.svg#d)"/>', "fill='url"),
        (r'<rect fill="u\72l(//a.b)"/>', "fill="),
        ('<rect fill="u&#114;l(//a.b)"/>', "fill="),
        ('<rect transform="url(//a.b)"/>', "transform="),
        ('<rect class="ink card"/>', "class='ink card'"),
        ("<?xml-stylesheet href='https://a.b/c.css'?>", "processing instruction"),
        ("<text>&nbsp;</text>", "not well-formed"),
        ("<text>a < b</text>", "not well-formed"),
        ("</svg><svg>", "not well-formed"),
    ],
)
def test_what_could_act_or_load_is_refused(inside, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        safe_svg(picture(inside))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('<g viewBox="0 0 9 9" aria-label="a"', "not an element svg"),
        ('<svg aria-label="a"', "viewBox"),
        ('<svg viewBox="0 0 9 9"', "aria-label"),
        (f'{HEAD} onload="alert(1)"', "the attribute 'onload'"),
    ],
)
def test_the_first_element_is_checked_too(head, message):
    with pytest.raises(ValueError, match=message):
        safe_svg(picture("", head=head).replace("</svg>", f"</{head[1:].split()[0]}>"))


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">',
        '<!ENTITY b SYSTEM "file:///etc/hostname">',
    ],
)
def test_entities_are_refused_before_they_are_read(declared):
    """They could expand to gigabytes, or bring in another file."""
    svg = f"<!DOCTYPE svg [{declared}]>{picture('<text>&b;</text>')}"
    with pytest.raises(ValueError, match="has a document type"):
        safe_svg(svg)
