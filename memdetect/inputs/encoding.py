"""Bytes of a text file -> text: UTF-8, or UTF-16 where a byte order mark says so, as spreadsheets and editors write."""

import codecs

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)  # the first of which begins as UTF-16 does


def decoded(data: bytes) -> str:
    """The text, without its byte order mark. Raises UnicodeDecodeError for what is in neither encoding."""
    if data.startswith(UTF16) and not data.startswith(UTF32):
        return data.decode("utf-16")
    return data.decode().removeprefix("\ufeff")
