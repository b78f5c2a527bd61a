import time
from pathlib import Path

import pytest
from made_files import notes, only, outcomes, write

from ragknn.files._html import text_of_page
from ragknn.records import Document


def test_html_becomes_blocks_of_text(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html><head><title>All &amp;
      keys</title><style>p { color: red }</style></head><body>
      <nav><a>Home</a></nav><script>run()</script><noscript>No script</noscript><template>T</template><!-- c -->
      <h1>Lost   key</h1><p>Call <b>us</b> at&nbsp;once:<br>0800&ndash;1.</p>
      <ul><li>One</li><li>Two</li></ul><table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>
      <pre>  if x:\n      y &lt; 1\n</pre><div>End<p>of</p>page</div>
    </body></html>"""
    blocks = ["All & keys", "Lost key", "Call us at once:\n0800–1.", "One", "Two", "a b\nc", "  if x:\n      y < 1"]
    text = "\n\n".join([*blocks, "End", "of", "page"])
    assert outcomes(write(tmp_path, "a.html", page)) == [Document("a.html", text, metadata={"title": "All & keys"})]


@pytest.mark.parametrize("page", ["notes.txt", "<?xml version='1.0'?><html><body>notes.txt</body></html>"])
def test_html_that_looks_like_something_else_gives_no_warning(tmp_path: Path, page: str) -> None:
    assert outcomes(write(tmp_path, "a.htm", page)) == [Document("a.htm", "notes.txt")]


def test_deeply_nested_html_is_read(tmp_path: Path) -> None:
    [document] = outcomes(write(tmp_path, "a.html", "<div>a" * 5000))
    assert isinstance(document, Document)
    assert document.text == "\n\n".join("a" * 5000)


# What stands around the text of a page

ARTICLE = "<article><header><h1>Opening hours</h1><p>Updated in May</p></header><p>We open at nine.</p></article>"
SAID = "Opening hours\n\nUpdated in May\n\nWe open at nine."


@pytest.mark.parametrize(
    "chrome",
    [
        "<header><a href=/>Home</a><form role=search><button>Search</button></form></header>",
        "<nav>Menu</nav>",
        "<footer>© Acme. Imprint.</footer>",
        "<aside>Related: ten best bikes</aside>",
        "<div role=banner>Acme</div>",
        "<div role=navigation>Menu</div>",
        "<div role=contentinfo>Imprint</div>",
        "<div role=complementary>Related</div>",
        "<div id=cookie-banner role=dialog>We use cookies. Accept all</div>",
        "<div class='site cookie-consent'>We use cookies.</div>",
        "<div id=onetrust-consent-sdk>We use cookies.</div>",
        "<div class=cookies>We use cookies.</div>",
        "<div class=cc-window>We use cookies.</div>",
        "<div id=cookies-eu-banner>We use cookies.</div>",
        "<section id=CybotCookiebotDialog>We use cookies.</section>",
        "<div id=header>Acme</div>",
        "<div class='site-footer wide'>Imprint</div>",
        "<ul class=breadcrumbs><li>Home</ul>",
        "<div class=sidebar>More</div>",
        "<a class=skip-link href=#main>Skip to content</a>",
        "<p hidden>Hidden</p>",
        "<p style='color: red; display : none'>Hidden</p>",
        "<div style=visibility:hidden><p>Hidden</p></div>",
        "<span aria-hidden=true>→</span>",
        "<dialog><p>Sure?</p></dialog>",
        "<template><p>Row</p></template>",
        "<noscript>Turn on scripts</noscript>",
        "<script>run('<p>x</p>')</script>",
        "<style>p { color: red }</style>",
        "<select><option>Germany<option>France</select>",
        "<svg><title>Menu icon</title><style>.a{fill:red}</style><text>x</text></svg>",
        "<iframe src=x>No frames</iframe>",
        "<textarea>Type here</textarea>",
        "<!-- a comment -->",
    ],
)
@pytest.mark.parametrize("place", ["<body>{chrome}{article}", "<body><div>{article}</div><div>{chrome}</div>"])
def test_chrome_is_no_text(tmp_path: Path, chrome: str, place: str) -> None:
    page = place.format(chrome=chrome, article=ARTICLE)
    assert only(write(tmp_path, "a.html", page)).text == SAID


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<main><header><h1>Hours</h1></header><p>Nine.</p></main>", "Hours\n\nNine."),
        ("<header><p>Acme</p><h1>Hours</h1></header><p>Nine.</p>", "Hours\n\nNine."),
        ("<header><h1>Acme</h1></header><h1>Hours</h1><p>Nine.</p>", "Hours\n\nNine."),
        ("<article><p>Nine.</p><aside>Not on Sundays.</aside></article>", "Nine.\n\nNot on Sundays."),
        ("<main><p>Nine.</p><aside>Not on Sundays.</aside></main>", "Nine.\n\nNot on Sundays."),
        ("<blockquote>Nine.<footer>A. Nother</footer></blockquote>", "Nine.\n\nA. Nother"),
        ("<section id=cookies><h2>Cookies</h2><p>We bake them.</p></section>", "Cookies\n\nWe bake them."),
        ("<div class='page has-cookie-banner'><main>Nine.</main></div>", "Nine."),
        ("<div class='page has-cookie-banner'><h2>Hours</h2>Nine.</div>", "Hours\n\nNine."),
        ("<article><div class=sidebar>Nine.</div></article>", "Nine."),
        ("<details><summary>When?</summary>Nine.</details>", "When?\n\nNine."),
        ("<dialog open>Nine.</dialog>", "Nine."),
        ("<h2>Hours<a class=headerlink href=#h>¶</a></h2>", "Hours"),
        ("<nav><p>All there is.</p></nav>", "All there is."),
        ("<header>All there is.</header>", "All there is."),
        ("<p>a<p>b<ul><li>c<li>d</ul>", "a\n\nb\n\nc\n\nd"),
        ("<p>no<wbr>break &amp; <em>more</em></p>", "nobreak & more"),
        ("<p><math><semantics><mi>E</mi><annotation>E = 1</annotation></semantics></math></p>", "E"),
    ],
)
def test_what_belongs_to_the_text_stays(tmp_path: Path, page: str, text: str) -> None:
    assert only(write(tmp_path, "a.html", page)).text == text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<table><tr><th><p>Plan</p><th><p>Price</p><tr><td><div>Pro</div><td>9</table>", "Plan Price\nPro 9"),
        ("<table><caption>Plans</caption><tbody><tr><td>a<td>b</tbody></table>", "Plans\na b"),
        ("<table><tr><td>a<br>b<td>c</table>", "a b c"),
        ("<table><tr><td><ul><li>a<li>b</ul><td>c</table><p>d", "a b c\n\nd"),
        ("<table><tr><td><h1>Hours</h1><p>Nine.</p><td>Menu</table>", "Hours\n\nNine.\n\nMenu"),
        ("<table role=presentation><tr><td><p>a</p><p>b</p></table>", "a\n\nb"),
        ("<table><tr><td>x<td><table><tr><td>a<td>b<tr><td>c<td>d</table></table>", "x\n\na b\nc d"),
        ("<table><tr><td><pre>x\n  y</pre></table>", "x\n  y"),
        ("<table><tr><td></table><p>a", "a"),
    ],
)
def test_a_table_is_a_line_for_each_row(tmp_path: Path, page: str, text: str) -> None:
    assert only(write(tmp_path, "a.html", page)).text == text


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<body><svg><title>Menu icon</title></svg><h1>Hours</h1>", None),
        ("<svg><title>Close</title></svg><p>Text.</p><title>Real  title</title>", "Real title"),
        ("<title></title><title>Second</title><p>Text.", "Second"),
    ],
)
def test_the_title_is_that_of_the_page(tmp_path: Path, page: str, title: str | None) -> None:
    assert only(write(tmp_path, "a.html", page)).metadata.get("title") == title


@pytest.mark.parametrize(
    ("declaration", "encoding", "text"),
    [
        ('<meta charset="windows-1252">', "cp1252", "Das Café öffnet um neun – täglich."),
        ("<meta charset=iso-8859-1>", "cp1252", "Das Café öffnet um neun – täglich."),
        ("<meta http-equiv='Content-Type' content='text/html; charset=gb2312'>", "gb18030", "图书馆九点开门。"),
        ("<META CHARSET=Shift_JIS>", "shift_jis", "図書館は九時に開きます。"),
        ('<?xml version="1.0" encoding="ISO-8859-2"?>', "iso-8859-2", "Żółw je liść."),
        ("<meta name=a content=b><meta charset=euc-kr>", "euc-kr", "도서관은 아홉 시에"),
        ("<meta charset=koi8-r>", "koi8-r", "Кафе открыто"),
        ("<meta charset=utf-8>", "utf-8", "Das Café"),
        ("<!-- <meta charset=koi8-r> --><meta charset=utf-8>", "utf-8", "Das Café"),
        ("<meta charset=base64>", "utf-8", "Das Café"),
        ("<meta charset=utf-16>", "utf-8", "Das Café"),
        ("<meta charset=klingon>", "utf-8", "Das Café"),
        ("", "utf-8", "Das Café – täglich."),
        ("", "utf-16", "Das Café"),
        ("<meta charset=iso-8859-5>", "utf-8-sig", "A mark says more: é"),
    ],
)
def test_the_declared_encoding_counts(tmp_path: Path, declaration: str, encoding: str, text: str) -> None:
    path = write(tmp_path, "a.html", f"{declaration}<p>{text}</p>".encode(encoding))
    assert only(path).text == text
    assert notes(path) == []


def test_a_page_that_declares_nothing_and_is_not_utf_8_is_taken_for_windows_1252(tmp_path: Path) -> None:
    path = write(tmp_path, "a.html", "<p>Café à neuf heures.".encode("cp1252"))
    assert only(path).text == "Café à neuf heures."
    assert notes(path) == [("assumed", "a.html")]


def test_short_forms_of_xml_do_not_swallow_the_page(tmp_path: Path) -> None:
    page = '<?xml version="1.0"?><html><head><title/><script src="x"/></head><body><a id="p1"/>One<p/>two</body></html>'
    assert only(write(tmp_path, "a.xhtml", page)).text == "One\n\ntwo"


@pytest.mark.parametrize(
    "part",
    ["x<br>", "<p>x", "<div>x</div>", "<tr><td>x<td>y", "<li><b>x</b>", "<a href=#>x</a> ", "<div><table><tr><td>x"],
)
def test_time_grows_with_the_size_of_the_page(part: str) -> None:
    def seconds(count: int) -> float:
        begin = time.process_time()
        text_of_page("<table>" * part.startswith("<tr") + part * count)
        return time.process_time() - begin

    count = 400 if part.startswith("<div><table") else 5_000
    assert min(seconds(2 * count) for _ in range(3)) < 3 * min(seconds(count) for _ in range(3)) + 0.05
