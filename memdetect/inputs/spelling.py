"""Captions that stand for others: what trainers put in the place of the signs in them."""

import re
from collections.abc import Iterator
from itertools import product

MOST = 32  # captions that one may stand for
CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")  # kohya's enable_wildcard: one of these at random
FIXED = re.compile(r"\s*,?\s*\|\|\|\s*,?\s*")  # kohya's keep_tokens_separator: what lies between may be shuffled
TOGETHER = re.compile(r"\s*;;;\s*")  # kohya's secondary_separator: tags that stay together
TRIGGER = re.compile(r"\[(trigger|name)\]", re.IGNORECASE)  # ai-toolkit's, for the word that its settings name


def spelled_out(caption: str) -> list[str]:
    """The caption as it stands, then as kohya's sd-scripts spell it where it holds their signs.

    Raises ValueError for one that stands for more than 32, and for ai-toolkit's `[trigger]`: what it stands for is not
    in it.
    """
    if found := TRIGGER.search(caption):
        said = f"holds {found[0]}, in the place of which training put a word; write that word"
        raise ValueError(f"the caption {caption!r:.80} {said}")
    return list(dict.fromkeys((caption, *_choices(caption))))


def _choices(caption: str) -> Iterator[str]:
    parts = CHOICE.split(caption)
    ways = [part.split("|") if k % 2 else [part] for k, part in enumerate(parts)]
    count = 1
    for way in ways:
        count *= len(way)
    if count > MOST:
        cure = f"at most {MOST} are scanned; write those that matter on lines of their own"
        raise ValueError(f"the caption {caption!r:.80} stands for {count:,} captions, {cure}")
    for chosen in product(*ways):
        text = "".join(chosen)
        text = text.replace("{{", "{").replace("}}", "}") if len(parts) > 1 else text
        yield TOGETHER.sub(",", FIXED.sub(", ", text)).strip(", ") if "|||" in text or ";;;" in text else text
