"""
Encoded words and charsets, for people to read (RFC 2047). Decoding never fails, and its cost is bounded.
"""

from __future__ import annotations

import base64
import binascii
import re

RAW_LIMIT = 4096
"""
Characters that are looked at: what is beyond them is for no list or log.
"""

_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]*)?\?([BbQq])\?([^?\s]*)\?=")
_BETWEEN = re.compile(r"(\?=)[ \t]+(?==\?[^?\s]+\?[BbQq]\?[^?\s]*\?=)")

_PARTS = [part for part in range(1, 17) if part != 12]
_PAGES = range(1250, 1259)
_NAMED_ALIKE = """
utf-8 us-ascii koi8-r koi8-u koi8-t gb2312 gbk gb18030 big5 big5-hkscs shift_jis euc-jp euc-kr cp932 cp949
iso-2022-jp iso-2022-jp-1 iso-2022-jp-2 iso-2022-jp-3 iso-2022-kr tis-620 macintosh cp874
"""
_ALIASES = """
utf8=utf-8 ascii=us-ascii ansi_x3.4-1968=us-ascii gb_2312-80=gb2312 gb2312-80=gb2312 euc-cn=gb2312 cp936=gbk
x-gbk=gbk windows-936=gbk big-5=big5 cp950=big5 x-sjis=shift_jis shift-jis=shift_jis sjis=shift_jis
ms_kanji=shift_jis windows-31j=cp932 windows-949=cp949 x-windows-949=cp949 ks_c_5601-1987=cp949 ksc5601=cp949
eucjp=euc-jp euckr=euc-kr iso-8859-8-i=iso-8859-8 iso-8859-8-e=iso-8859-8 iso-8859-6-i=iso-8859-6
latin1=iso-8859-1 latin2=iso-8859-2 latin3=iso-8859-3 latin4=iso-8859-4 latin5=iso-8859-9 latin9=iso-8859-15
windows-874=cp874
"""
_CODECS = {
    **{name: name for name in _NAMED_ALIKE.split()},
    **{f"{prefix}{part}": f"iso-8859-{part}" for part in _PARTS for prefix in ("iso-8859-", "iso8859-")},
    **{f"{prefix}{page}": f"cp{page}" for page in _PAGES for prefix in ("windows-", "cp")},
    **dict(alias.split("=") for alias in _ALIASES.split()),
}
"""
MIME's charsets by name, and Python's codecs for them. No other name is looked up: Python keeps each one that it was
ever asked for, and has codecs that take minutes for a header (punycode) or are for programs (unicode_escape).
"""


def decode_words(text: str) -> str:
    """
    C{text} with its encoded words decoded; what cannot be decoded stays as it is. Control characters become spaces.

    Of text over L{RAW_LIMIT} the beginning, up to a space, is given.
    """
    if "=?" not in text and len(text) <= RAW_LIMIT and text.isprintable():
        return text
    if len(text) > RAW_LIMIT:
        cut = text[:RAW_LIMIT]
        text = cut.rpartition(" ")[0] or cut
    return make_printable(decode_exactly(text))


def decode_exactly(text: str) -> str:
    """
    All of C{text} with its encoded words decoded, control characters as they are. Its cost grows with the length,
    which the caller bounds.
    """
    return _WORD.sub(_decode_word, _BETWEEN.sub(r"\1", text)) if "=?" in text else text


def decode_charset(octets: bytes, charset: str) -> str:
    """
    The text that the octets are in that charset of MIME; in UTF-8 where it is no known one. Never fails.
    """
    return octets.decode(_CODECS.get(charset.lower(), "utf-8"), "replace")


def make_printable(text: str) -> str:
    """
    C{text} with spaces for control characters.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, encoded = match.groups()
    codec = _CODECS.get(charset.lower())
    if codec is None:
        return match[0]
    try:
        if encoding in "Bb":
            octets = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
        else:
            octets = binascii.a2b_qp(encoded, header=True)
    except ValueError:
        # Base64 that is none.
        return match[0]
    return octets.decode(codec, "replace")
