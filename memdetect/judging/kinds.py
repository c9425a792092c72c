"""Kinds of prompts, found from their text: a score is worth what it is ranked among, prompts of its own kind.

Text becomes counts of character n-grams in a fixed table, so that nothing has to be fitted or kept but the tuning
prompts. Everything here rests on the tuning split: of the calibration split and of scanned prompts it is a function
that was fixed before they were seen, so that their novelties are exchangeable (conformal). Needs scikit-learn.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memdetect.inputs.wording import normalised
from memdetect.judging.ranks import SMALLEST_TUNING
from memdetect.judging.statistics.beta import beta_binomial_cdf

BUCKETS = 2**16
NEIGHBOURS = 3  # tuning prompts whose similarity counts
PER_GROUP, GROUPS = 25, 12  # tuning prompts a text group, and groups at most, before those that score alike are joined
APART, TAIL, SURE = 0.3, 0.25, 0.01  # what two groups have to differ by, and how surely

Texts = Float[np.ndarray, "text bucket"]


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a text: its kind, and how unlike the nearest tuning prompts of that kind it is, in [0, 1]."""

    kind: str
    novelty: float


class Kinds:
    """Tells the kind of a text by the tuning prompts nearest to it."""

    def __init__(self, texts: Sequence[str], kinds: Sequence[str]) -> None:
        self._texts = vectors(texts)
        self._kinds = np.array(list(kinds))
        self._rows = {str(kind): np.flatnonzero(self._kinds == kind) for kind in np.unique(self._kinds)}

    def tell(self, texts: Sequence[str]) -> list[Told]:
        """Kind and novelty of each text; families of the tuning prompts must not be among them.

        novelty: 1 less the mean cosine similarity of n-gram counts to the three nearest tuning prompts of the kind, the
        kind being that whose three nearest are nearest.
        """
        found: list[Told] = []
        for start in range(0, len(texts), 1024):
            near = np.asarray((vectors(texts[start : start + 1024]) @ self._texts.T).todense())
            found += [self._told(row) for row in near]
        return found

    def among_others(self) -> list[Told]:
        """The same of each tuning prompt, of its own kind, by the other tuning prompts."""
        near = np.asarray((self._texts @ self._texts.T).todense())
        np.fill_diagonal(near, -1.0)
        found: list[Told] = []
        for row, kind in zip(near, self._kinds, strict=True):
            own = np.sort(row[self._kinds == kind])[-NEIGHBOURS:]
            kept = own[own >= 0]
            found.append(Told(str(kind), 1 - float(kept.mean()) if len(kept) else 1.0))
        return found

    def _told(self, similarities: Float[np.ndarray, " text"]) -> Told:
        best = {k: float(np.sort(similarities[rows])[-NEIGHBOURS:].mean()) for k, rows in self._rows.items()}
        kind = max(best, key=lambda name: best[name])
        return Told(kind, 1 - best[kind])


def vectors(texts: Sequence[str]) -> Any:
    """Sparse unit vectors of the texts' character n-grams (2 to 4, within words), counted in 65,536 buckets.

    No n-gram goes beyond its word, so that a text's counts are the sum of its words', each of which is counted once.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    places: dict[str, int] = {}
    rows = [[places.setdefault(word, len(places)) for word in normalised(text).split()] for text in texts]
    hashing: Any = HashingVectorizer
    table = hashing(
        analyzer="char_wb", ngram_range=(2, 4), n_features=BUCKETS, alternate_sign=False, lowercase=False, norm=None
    )
    if not places:
        return table.transform([""] * len(texts))
    ends = np.cumsum([0, *map(len, rows)])
    words = csr_matrix((np.ones(ends[-1]), np.concatenate(rows).astype(int), ends), (len(rows), len(places)))
    counts: Any = words @ table.transform(list(places))
    counts.sort_indices()  # as counted at once: the order of a sum decides its last bits
    return normalize(counts, copy=False)


def find_kinds(texts: Sequence[str], scores: Mapping[str, Sequence[float]]) -> list[str]:
    """The kind of each tuning prompt, "0", "1", ... by number: groups of alike text, joined where they score alike.

    scores: by detector, of those that decide. Text groups are k-means of the n-gram vectors' 20 main components; the
    two nearest groups of which no detector tells the scores apart are joined until there are none. Two groups score
    apart if their distributions differ by more than 0.3 (Kolmogorov and Smirnov) or more than a quarter of one lies
    above nine tenths of the other, each shown at 1 % shared out among all groups and detectors (Bonferroni).
    """
    if len(texts) < SMALLEST_TUNING or len(set(texts)) < SMALLEST_TUNING:
        return ["0"] * len(texts)
    places = _components(texts)
    groups = _text_groups(places)
    sure = SURE / (len(set(groups.tolist())) * max(1, len(scores)))
    while (pair := _nearest_alike(places, groups, scores, sure)) is not None:
        groups = np.where(groups == pair[1], pair[0], groups)
    order = [group for group, _ in Counter(groups.tolist()).most_common()]
    return [str(order.index(group)) for group in groups.tolist()]


def _components(texts: Sequence[str]) -> Float[np.ndarray, "text component"]:
    from sklearn.decomposition import TruncatedSVD

    found = vectors(texts)
    return TruncatedSVD(min(20, len(texts) - 1), random_state=0).fit_transform(found)


def _text_groups(places: Float[np.ndarray, "text component"]) -> Int[np.ndarray, " text"]:
    from sklearn.cluster import KMeans

    count = min(GROUPS, max(1, len(places) // PER_GROUP))
    grouping: Any = KMeans
    return grouping(count, n_init=10, random_state=0).fit_predict(places)


def _nearest_alike(
    places: Float[np.ndarray, "text component"],
    groups: Int[np.ndarray, " text"],
    scores: Mapping[str, Sequence[float]],
    sure: float,
) -> tuple[int, int] | None:
    """The two nearest groups that score alike, None where all score apart."""
    names = sorted(set(groups.tolist()))
    centres = {name: places[groups == name].mean(axis=0) for name in names}
    pairs = sorted(combinations(names, 2), key=lambda pair: float(np.linalg.norm(centres[pair[0]] - centres[pair[1]])))
    for one, other in pairs:
        sides = [(np.asarray(own)[groups == one], np.asarray(own)[groups == other]) for own in scores.values()]
        if not any(_apart(a, b, sure) or _apart(b, a, sure) for a, b in sides):
            return one, other
    return None


def _apart(ours: Float[np.ndarray, " _"], theirs: Float[np.ndarray, " _"], sure: float) -> bool:
    """Whether two samples of scores are surely of different distributions, in bulk or in the upper tail.

    If they are of one, how many of ours lie above the j-th largest of their n is Beta-binomial(j, n + 1 - j).
    """
    from scipy import stats

    bulk: Any = stats.ks_2samp(ours, theirs)
    if bulk.statistic > APART and bulk.pvalue < sure:
        return True
    j = ceil(len(theirs) / 10)
    above = int((ours > np.sort(theirs)[-j]).sum())
    chance = 1 - beta_binomial_cdf(above - 1, len(ours), j, len(theirs) + 1 - j)
    return above > TAIL * len(ours) and chance < sure


def central(texts: Sequence[str], kinds: Sequence[str]) -> dict[str, str]:
    """A text that stands for each kind: the one most like the others of it."""
    found: dict[str, str] = {}
    places, names = vectors(texts), np.array(list(kinds))
    for kind in sorted(set(kinds)):
        rows = np.flatnonzero(names == kind)
        middle = np.asarray(places[rows].mean(axis=0)).ravel()
        found[kind] = texts[int(rows[int(np.argmax(places[rows] @ middle))])]
    return found
