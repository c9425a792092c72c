"""Settings of trainers that lie in a training folder: what they say of captions, which no caption file says."""

import re
from collections.abc import Iterable
from pathlib import Path

from memdetect.errors import MemdetectError
from memdetect.inputs.sidecars import read_text

SETTINGS = (".toml", ".yaml", ".yml", ".json")
# Named by a key with a value, in TOML, YAML or JSON: kohya's, ai-toolkit's and SimpleTuner's.
_KEY = r"""(?:^|[{{,])[\s\-]*["']?({})["']?\s*[:=][ \t]*(?!["']{{2}}|null\b|none\b|false\b|~)([^\s#].*)"""
EVERY = re.compile(_KEY.format("caption_prefix|caption_suffix|trigger_word|prepend_instance_prompt"), re.M | re.I)
OTHERS = re.compile(_KEY.format("class_tokens|default_caption|instance_prompt"), re.M | re.I)


def refuse_settings(files: Iterable[Path], named: Iterable[Path], *, fallback: bool) -> None:
    """MemdetectError where settings among the files say that training changed the captions, or had one for the rest.

    named: files that are read as captions. fallback: whether pictures without a caption take a folder's name, which
    settings with a caption of their own overrule.
    """
    read = {*named}
    for path in files:
        if path.suffix.lower() not in SETTINGS or path in read:
            continue
        text = _settings(path)
        if found := EVERY.search(text):
            cure = "write the captions as they were trained on, and move the settings away"
            raise MemdetectError(f"{str(path)!r} says {found[1]}, which changes captions in training; {cure}")
        if fallback and (found := OTHERS.search(text)):
            cure = f"give it as --instance-prompt: {found[2].strip(' ,}]'):.60}"
            raise MemdetectError(f"{str(path)!r} says {found[1]}, the caption of pictures that have none; {cure}")


def _settings(path: Path) -> str:
    """The text of a file that may be settings; "" of one that cannot be read, or that is too long for that."""
    return read_text(path) if path.stat().st_size < 2**20 else ""
