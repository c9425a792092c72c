"""Whether scanned prompts can be told from the clean ones by their text alone: a tripwire, not a guarantee."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from memdetect.inputs.wording import Worded, family_key, is_label, text_key, worded
from memdetect.judging.calibration import Calibration

MOST, FEWEST, FOLDS = 2000, 20, 5


def compare_wording(rows: Sequence[Worded], calibration: Calibration) -> dict[str, Any]:
    """AUROC of a text classifier, scanned against clean prompts, with its one-sided 95 % lower bound.

    Cross-fitted: no prompt is scored by a classifier that saw its family. Where there is nothing to compare, `few` says
    so: fewer than 20 families of prompts a side. Where there is, but it cannot be done, `missing` says why: clean
    scores that were kept without their prompts, or no scikit-learn. {} with a base, which draws the scan's own prompts.
    Numbers of classes have no wording. Where kinds of prompts were found, scanned ones are compared with clean ones of
    their kind, and the worst kind is what is said: how many there are of each is no shift.
    """
    if calibration.base:
        return {}
    if calibration.kinds:
        return _by_kind(rows, calibration)
    scanned = {row.prompt: family_key(row.meta, row.prompt) for row in rows if row.prompt and not is_label(row.prompt)}
    bare = sum(not item.prompt and item.text != text_key("") for item in calibration.items)
    if bare and len(set(scanned.values())) >= FEWEST:
        return {"missing": f"the clean scores were kept without the words of {bare} of their prompts"}
    clean = {item.prompt: item.family for item in calibration.items if item.prompt and not is_label(item.prompt)}
    return tell_apart(scanned, clean)


def _by_kind(rows: Sequence[Worded], calibration: Calibration) -> dict[str, Any]:
    asked = [row for row in rows if row.prompt and worded(row.prompt)]
    try:
        from memdetect.judging.telling import kinds_in

        kinds = kinds_in(calibration)
        told = kinds.tell([row.prompt or "" for row in asked]) if kinds else None
    except ImportError:
        return {"missing": "scikit-learn is not installed here; install it, or judge where it is"}
    if told is None:
        return {"missing": "the clean scores were kept without the words of their prompts"} if asked else {}
    found: list[dict[str, Any]] = []
    for kind in calibration.kinds:
        own = [row for row, one in zip(asked, told, strict=True) if one.kind == kind.name]
        scanned = {row.prompt or "": family_key(row.meta, row.prompt) for row in own}
        clean = {item.prompt: item.family for item in calibration.items if item.stratum == kind.name}
        found += [tell_apart(scanned, clean)] if scanned else []
    compared = [one for one in found if "low" in one]
    missing = next((one for one in found if "missing" in one), None)
    return missing or max(compared, key=lambda one: one["low"], default=None) or (found[0] if found else {})


def tell_apart(scanned: Mapping[str, str], clean: Mapping[str, str]) -> dict[str, Any]:
    """AUROC and lower bound between two sets of texts, each text with its family; why not, when there are none."""
    if len(set(scanned.values())) < FEWEST <= len(scanned):
        scanned = {text: text for text in scanned}  # few families of many texts: each text stands for itself
    counts = len(set(scanned.values())), len(set(clean.values()))
    if min(counts) < FEWEST:
        return {"few": f"{counts[0]} scanned and {counts[1]} clean families of prompts, it takes {FEWEST} of each"}
    scanned = _sample(scanned)
    clean = _sample(clean, beside=len(scanned))
    families = [*scanned.values(), *clean.values()]
    texts, labels = [*scanned, *clean], [1] * len(scanned) + [0] * len(clean)
    try:
        scores = cross_fitted(texts, labels, families)
    except ImportError:
        return {"missing": "scikit-learn is not installed here; install it, or judge where it is"}
    from memdetect.judging.statistics.auroc import auroc, lower_area

    positive, negative = scores[: len(scanned)], scores[len(scanned) :]
    area, low = auroc(positive, negative), lower_area(positive, negative)
    return {"auroc": area, "low": low, "scanned": len(scanned), "clean": len(clean)}


def cross_fitted(texts: Sequence[str], labels: Sequence[int], families: Sequence[str], seed: int = 0) -> list[float]:
    """Log-odds of each text by a classifier that saw none of its family: character n-grams, logistic regression.

    The n-grams are those of all texts, counted once. Scores of different folds share what they learned from, and so are
    not independent. Raises ImportError without scikit-learn.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    of_word = cache(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).build_analyzer())  # none goes beyond a word
    how: dict[str, Any] = {"analyzer": lambda text: chain.from_iterable(map(of_word, text.split()))}
    table = TfidfVectorizer(**how, min_df=2, sublinear_tf=True, max_features=20_000)
    counted: Any = table.fit_transform(list(texts))
    scores, folds = [0.0] * len(texts), _folds(families, labels, seed)
    for k in range(FOLDS):
        train, test = ([i for i, fold in enumerate(folds) if (fold == k) == aside] for aside in (False, True))
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        model.fit(counted[train], [labels[i] for i in train])
        for i, score in zip(test, model.decision_function(counted[test]), strict=True):
            scores[i] = float(score)
    return scores


def _folds(families: Sequence[str], labels: Sequence[int], seed: int) -> list[int]:
    """A fold for each text: families dealt out in the order of a sha256, those of each label by themselves."""
    found: dict[str, int] = {}
    for label in (0, 1):
        own = {family for family, other in zip(families, labels, strict=True) if other == label} - found.keys()
        order = sorted(own, key=lambda family: hashlib.sha256(f"{seed}|{family}".encode()).hexdigest())
        found |= {family: k % FOLDS for k, family in enumerate(order)}
    return [found[family] for family in families]


def _sample(texts: Mapping[str, str], beside: int = MOST) -> dict[str, str]:
    """At most 2,000 texts, chosen by their sha256: beside few others ten times as many, but 500, tell as much."""
    order = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    return {text: texts[text] for text in order[: min(MOST, max(500, 10 * beside))]}
