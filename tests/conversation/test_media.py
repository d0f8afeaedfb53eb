"""Images are sent as URLs: as they are, or as data URLs that can be decoded."""

from __future__ import annotations

import base64

import pytest

from lktrio._conversation.media import data_url, image_url

JPEG = b"\xff\xd8\xff\xe0" + bytes(4)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(4)
GIF87 = b"GIF87a" + bytes(4)
GIF89 = b"GIF89a" + bytes(4)
WEBP = b"RIFF\n\x00\x01\x02WEBPVP8 "


def encoded(image: bytes) -> str:
    return base64.b64encode(image).decode("ascii")


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (JPEG, "image/jpeg"),
        (PNG, "image/png"),
        (GIF87, "image/gif"),
        (GIF89, "image/gif"),
        (WEBP, "image/webp"),
    ],
)
def test_bytes_show_their_kind(image: bytes, kind: str) -> None:
    assert image_url(image, None) == f"data:{kind};base64,{encoded(image)}"


@pytest.mark.parametrize("mime_type", ["image/jpg", "IMAGE/JPEG", "image/jpeg"])
def test_the_kind_that_is_named_wins(mime_type: str) -> None:
    assert image_url(b"any", mime_type) == "data:image/jpeg;base64,YW55"
    assert image_url("data:image/png;base64,YW55", mime_type) == "data:image/jpeg;base64,YW55"


@pytest.mark.parametrize(
    "url",
    ["https://example.com/a.png?b=1#c", "http://[::1]/a", "gs://bucket/a", "HTTPS://example.com/ä"],
)
def test_a_url_is_sent_as_it_is(url: str) -> None:
    assert image_url(url, None) == url
    assert image_url(url, "image/bmp") == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:image/png;base64,aGk=", "data:image/png;base64,aGk="),
        ("DATA:Image/PNG;BASE64,aGk=", "data:image/png;base64,aGk="),
        ("data:image/png;name=a.png;base64,aGk=", "data:image/png;base64,aGk="),
        ("data:image/png;base64,aG\r\n k=\n", "data:image/png;base64,aGk="),
        (f"data:;base64,{encoded(GIF89)}", f"data:image/gif;base64,{encoded(GIF89)}"),
    ],
)
def test_a_data_url_is_sent_in_its_plainest_form(url: str, expected: str) -> None:
    assert image_url(url, None) == expected


@pytest.mark.parametrize(
    ("image", "mime_type", "words"),
    [
        (b"", None, "is empty"),
        (b"BM....", None, "is of an unknown kind; encode it as JPEG, PNG, GIF or WebP, or name its kind with mime_type="),
        (PNG, "image/bmp", "is of the kind 'image/bmp', which is not accepted; it takes JPEG, PNG, GIF or WebP"),
        (b"RIFF....WAVE", None, "unknown kind"),
        ("data:image/png;base64,@@@", None, "payload is not base64"),
        ("data:image/png;base64,aGk", None, "payload is not base64"),
        ("data:image/png;base64,aGk=aGk=", None, "payload is not base64"),
        ("data:image/png;base64,aGkä", None, "payload is not base64"),
        ("data:image/png;base64,", None, "without a payload"),
        ("data:image/png,abc", None, "without base64; write data:image/png;base64,"),
        ("data:image/png;base64", None, "without base64"),
        ("data:image/bmp;base64,aGk=", None, "of the kind 'image/bmp'"),
        ("data:text/plain;base64,aGk=", None, "of the kind 'text/plain'"),
        ("data:;base64,aGk=", None, "unknown kind"),
        ("cat.png", None, "is 'cat.png', which is no URL; it takes a URL, a data URL or bytes"),
        ("", None, "is '', which is no URL"),
        ("C:\\cat.png", None, "which is no URL"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_to_a_model_is_refused(
    image: str | bytes, mime_type: str | None, words: str
) -> None:
    with pytest.raises(ValueError, match=r"^is ") as caught:
        image_url(image, mime_type)

    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("image", "mime_type", "expected"),
    [
        (PNG, None, f"data:image/png;base64,{encoded(PNG)}"),
        (PNG, "image/heic", f"data:image/heic;base64,{encoded(PNG)}"),
        (b"?", None, "data:application/octet-stream;base64,Pw=="),
    ],
)
def test_any_bytes_can_be_written_as_a_data_url(
    image: bytes, mime_type: str | None, expected: str
) -> None:
    assert data_url(image, mime_type) == expected
