"""Forms: the selected model, the same bytes with another id, and rejected forms."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from proxy.errors import BadRequest
from proxy.inference.request.form_body import FormBody

TYPE = b"multipart/form-data; boundary=B"


MODEL_HEAD = 'Content-Disposition: form-data; name="model"'


def form(*fields: str, boundary: str = "B", end: str = "\r\n") -> bytes:
    """A form of whole fields: head, blank line, content."""
    parts = "".join(f"--{boundary}\r\n{field}\r\n" for field in fields)
    return f"{parts}--{boundary}--{end}".encode("latin-1")


def field(content: str, head: str = 'Content-Disposition: form-data; name="model"') -> str:
    return f"{head}\r\n\r\n{content}"


SOUND = (
    'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg\r\n\r\nx\0\r\n\n--y\r\n'
)


HEADS = {
    "curl, browsers, httpx, node": 'Content-Disposition: form-data; name="model"',
    "okhttp": 'Content-Disposition: form-data; name="model"\r\nContent-Length: 1',
    ".NET": "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model",
    "Dart": 'content-disposition: form-data; name="model"\r\ncontent-type: text/plain; charset=utf-8\r\n'
    "content-transfer-encoding: binary",
    "Apache": 'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=US-ASCII\r\n'
    "Content-Transfer-Encoding: 8bit",
    "Apache with its default for text": 'Content-Disposition: form-data; name="model"\r\n'
    "Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit",
    "mail libraries": 'MIME-Version: 1.0\r\nContent-ID: <1@h>\r\nContent-Disposition: form-data; name="model";\r\n'
    "X-Part: 1",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("end", ["\r\n", ""], ids=["with a line end", "without"])
def test_a_form_of_a_real_client_is_renamed_without_other_changes(head: str, first: bool, end: str) -> None:
    fields = [field("m", head), SOUND]
    renamed = [field("x/m", head), SOUND]
    body = FormBody(form(*fields[:: 1 if first else -1], end=end), TYPE)

    assert (body.model, body.models) == ("m", ("m",))
    assert body.with_ids({"m": "x/m"}) == form(*renamed[:: 1 if first else -1], end=end)
    assert body.with_ids({"m": "m"}) == form(*fields[:: 1 if first else -1], end=end)


@pytest.mark.parametrize("named", ["path_model", "default_model"])
@pytest.mark.parametrize("fields", [[], [SOUND]], ids=["empty", "a file"])
def test_a_form_without_a_model_gets_that_of_the_path_or_the_default(named: str, fields: list[str]) -> None:
    body = FormBody(form(*fields), TYPE, **{named: "m"})

    assert body.models == ("m",)
    assert body.with_ids({"m": "x/m"}) == form(field("x/m"), *fields)


def test_a_form_with_another_model_than_the_path_is_rejected() -> None:
    with pytest.raises(BadRequest) as rejected:
        FormBody(form(field("m")), TYPE, path_model="p")

    assert rejected.value.message == (
        "The path and the request body must name the same model: the path names `p`, the body names `m`."
    )
    assert FormBody(form(field("m")), TYPE, path_model="m", default_model="d").models == ("m",)


PREAMBLES = {
    "an empty line": "\r\n",
    "two empty lines": "\r\n\r\n",
    "a sentence": "This is a multi-part message in MIME format.\r\n",
    "headers, as Python's email package writes them": 'Content-Type: multipart/form-data; boundary="B"\r\n'
    "MIME-Version: 1.0\r\n\r\n",
}


@pytest.mark.parametrize("preamble", PREAMBLES.values(), ids=PREAMBLES)
@pytest.mark.parametrize("end", ["\r\n", "\r\n\r\n", "\n"], ids=["a line end", "an empty line", "a line feed"])
def test_text_before_the_first_boundary_and_blank_lines_at_the_end_are_accepted(preamble: str, end: str) -> None:
    body = preamble.encode() + form(field("m"), SOUND, end=end)

    assert FormBody(body, TYPE).with_ids({"m": "n"}) == preamble.encode() + form(field("n"), SOUND, end=end)


def test_text_after_the_last_boundary_is_accepted_and_forwarded() -> None:
    text = b"This text is ignored.\r\n"

    assert FormBody(form(field("m"), SOUND) + text, TYPE).with_ids({"m": "n"}) == form(field("n"), SOUND) + text


@pytest.mark.parametrize(
    "text",
    [
        form(field("other")),
        b"x\r\nContent-Disposition: form-data; name=model\r\n\r\nother\r\n",
        b"\x00",
        b"x" * 9000,
    ],
    ids=["a second form", "a field without a boundary", "NUL", "a long text"],
)
def test_text_after_the_last_boundary_that_could_be_read_as_a_field_is_rejected(text: bytes) -> None:
    with pytest.raises(BadRequest, match="Invalid form"):
        FormBody(form(field("m"), SOUND) + text, TYPE)


def test_a_model_that_the_path_names_is_added_after_the_preamble() -> None:
    body = FormBody(b"\r\n" + form(SOUND), TYPE, path_model="m")

    assert body.with_ids({"m": "n"}) == b"\r\n" + form(field("n"), SOUND)


FILES = {
    "quotes as HTML writes them": 'filename="a%22b.mp3"',
    "quotes as Go writes them": r'filename="a\"b\\.mp3"',
    "a semicolon": 'filename="a; b=c.mp3"',
    "UTF-8": 'filename="\xc3\xa9.mp3"',
    "a Windows path": r'filename="C:\a.mp3"',
    ".NET": "filename=a.mp3; filename*=utf-8''a.mp3",
    "only the other name": "filename*=utf-8''%e2%82%ac.mp3",
}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_file_can_have_any_name(file: str) -> None:
    body = form(f'Content-Disposition: form-data; name="file"; {file}\r\n\r\nx', field("m"))

    assert FormBody(body, TYPE).with_ids({"m": "n"}) == body.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nn\r\n")


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=B", "B"),
        ('Multipart/Form-Data;boundary="B"', "B"),
        ("multipart/form-data;charset=UTF-8;boundary=B", "B"),
        ("multipart/form-data; boundary=B; charset=utf-8", "B"),
        ("multipart/form-data; charset=ISO-8859-1; boundary=B", "B"),
        ('multipart/form-data; boundary="a b"', "a b"),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
        ("multipart/form-data; boundary=dart-http-boundary-'()+_./:=?", "dart-http-boundary-'()+_./:=?"),
    ],
)
def test_the_boundary_is_sent_in_one_notation(content_type: str, boundary: str) -> None:
    body = FormBody(form(field("m"), boundary=boundary), content_type.encode())

    assert (body.model, body.content_type) == ("m", f'multipart/form-data; boundary="{boundary}"'.encode())


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/mixed; boundary=B", "multipart/form-data; boundary=",
     'multipart/form-data; boundary=""',
     "multipart/form-data; boundary=B; boundary=C",
     'multipart/form-data; boundary="B "', 'multipart/form-data; boundary="B\\""',
     "multipart/form-data; boundary=B; x=y", "multipart/form-data; charset=utf-7; boundary=B",
     'multipart/form-data; boundary="\xff"', 'multipart/form-data; boundary="B\0"',
     "multipart/form-data; boundary=" + "B" * 71],
)  # fmt: skip
def test_an_ambiguous_boundary_is_rejected(content_type: str) -> None:
    with pytest.raises(BadRequest, match="content-type of a form"):
        FormBody(form(field("m")), content_type.encode("latin-1"))


def ambiguous_forms() -> Iterator[tuple[str, bytes]]:
    model, other = field("m"), field("n")
    harmless = field("x", 'Content-Disposition: form-data; name="x"')
    hidden = 'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    yield "nothing", b""
    yield "no model", form(SOUND)
    yield "an empty model", form(field(""))
    yield "two models", form(model, other)
    yield "the same twice", form(model, model)
    for name in ("model[]", "model[0]", "Model", "MODEL", " model", "model.0", "models", "models[]", "fallbacks",
                 "route", "api_base", "previous_response_id", "_charset_", "mod%65l", "extra_body[model]"):  # fmt: skip
        yield f"also {name}", form(model, field("n", f'Content-Disposition: form-data; name="{name}"'))
    yield "a name with a zero", form(model, field("n", 'Content-Disposition: form-data; name="model\0"'))
    yield "name*", form(model, field("n", "Content-Disposition: form-data; name*=utf-8''model"))
    yield "name and name*", form(model, field("n", "Content-Disposition: form-data; name=\"x\"; name*=utf-8''model"))
    yield "two names", form(model, field("n", 'Content-Disposition: form-data; name="x"; name="model"'))
    yield (
        "a name in a file's name",
        form(model, field("n", 'Content-Disposition: form-data; name="x"; filename="; name=model"')),
    )
    yield (
        "a name behind a backslash",
        form(model, field("n", 'Content-Disposition: form-data; name="x"; filename="\\"; name=model; y=\\""')),
    )
    yield "an escaped name", form(model, field("n", 'Content-Disposition: form-data; name="mode\\l"'))
    yield "no form-data", form(model, field("n", 'Content-Disposition: attachment; name="x"'))
    yield "two dispositions", form(model, field("n", 'Content-Disposition: form-data; name="x"\r\n' + MODEL_HEAD))
    yield "no disposition", form(model, field("n", "Content-Type: text/plain"))
    yield "no head", form(model, "\r\nn")
    yield "no blank line", form(model, 'Content-Disposition: form-data; name="x"')
    yield "a folded head", form(model, field("n", 'Content-Disposition: form-data; name="x"\r\n ; name="model"'))
    yield "a folded head of another line", form(model, field("n", 'Content-Disposition: form-data;\r\n name="model"'))
    yield (
        "a bare line feed in a head",
        form(model, field("n", "Content-Type: a\n" + MODEL_HEAD + '\r\nContent-Disposition: form-data; name="x"')),
    )
    yield (
        "a long head",
        form(model, field("n", 'Content-Disposition: form-data; name="x"\r\nContent-Type: ' + "a" * 9000)),
    )
    yield "base64", form(field("bQ==", MODEL_HEAD + "\r\nContent-Transfer-Encoding: base64"))
    yield "quoted-printable", form(field("=6d", MODEL_HEAD + "\r\nContent-Transfer-Encoding: quoted-printable"))
    yield "a compressed field", form(field("m", MODEL_HEAD + "\r\nContent-Encoding: gzip"))
    yield "another character set", form(field("+AG0-", MODEL_HEAD + "\r\nContent-Type: text/plain; charset=utf-7"))
    yield "a character set without ASCII", form(field("m", MODEL_HEAD + "\r\nContent-Type: a; charset=utf-16"))
    yield "a Latin model that is not ASCII", form(field("\xe9", MODEL_HEAD + "\r\nContent-Type: a; charset=iso-8859-1"))
    yield "two character sets", form(field("m", MODEL_HEAD + "\r\nContent-Type: a; charset=utf-8; charset=utf-7"))
    yield (
        "a form in the form",
        form(
            model, field("n", 'Content-Disposition: form-data; name="x"\r\nContent-Type: multipart/mixed; boundary=C')
        ),
    )
    yield "a model that is a file", form(field("m", MODEL_HEAD + '; filename="m"'))
    yield "a model that is no text", form(field("\xff"))
    yield "a model that is a book", form(field("m" * 2000))
    yield "something in front on the same line", b"x" + form(model)
    yield "a line feed in front", b"\n" + form(model)
    yield "text and a line feed in front", b"x\n" + form(model)
    yield "a field in front", f"{other}\r\n".encode() + form(model)
    yield "a field in front of no model", f"{other}\r\n".encode() + form(SOUND)
    yield "a zero in front", b"\0\r\n" + form(model)
    yield "a book in front", b"x" * 9000 + b"\r\n" + form(model)
    yield "the boundary in the text in front", b"x--B\r\n" + form(model)
    yield "another form in front", form(other).replace(b"--B--\r\n", b"--B--\r\n\r\n") + form(model)
    yield "another form behind", form(model) + form(other)
    yield "no end", form(model).replace(b"--B--", b"--B")
    yield "cut off", form(model)[:-6]
    yield "blanks behind a boundary", form(model, SOUND).replace(b"--B\r\n", b"--B \r\n")
    for name, line_end in (("line feed", "\n"), ("carriage return", "\r"), ("nothing", "")):
        yield f"the boundary in a field after a {name}", form(model, hidden + f"a{line_end}--B\r\n{harmless}")
        yield f"the end in a field after a {name}", form(hidden + f"a{line_end}--B--\r\n", model)
    yield "bare line feeds only", form(model, other).replace(b"\r\n", b"\n")
    yield "a longer boundary in a field", form(model, hidden + "a\r\n--BB\r\n" + other)
    yield "far too many fields", form(model, *['Content-Disposition: form-data; name="x"\r\n\r\n'] * 1001)


AMBIGUOUS = dict(ambiguous_forms())


@pytest.mark.parametrize("body", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_form_is_rejected(body: bytes) -> None:
    with pytest.raises(BadRequest):
        FormBody(body, TYPE)


@pytest.mark.parametrize("name", ["a.mp3", 'a"b;c.mp3', "é 模型.mp3", "a\\b.mp3"])
def test_a_form_written_by_httpx_is_accepted(name: str) -> None:
    sound = bytes(range(256)) + b"\r\n--\r\n"
    request = httpx.Request("POST", "http://p/", data={"model": "m", "language": "de"}, files={"file": (name, sound)})
    body = request.read()

    read = FormBody(body, request.headers["content-type"].encode())

    assert (read.model, sound in body) == ("m", True)
    assert read.with_ids({"m": "n"}) == body.replace(b'name="model"\r\n\r\nm\r\n', b'name="model"\r\n\r\nn\r\n')
