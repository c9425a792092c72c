"""A policy says exactly what was asked for: nothing misspelt is passed over, nothing expired still suppresses."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from memdetect.errors import Exit, MemdetectError
from memdetect.runs.policy import IGNORE_FILE, Ignore, Policy, read_ignores, read_policy

TODAY = date(2026, 11, 24)
ENTRY = 'id = "a1"\noutcome = "copy"\nmodel = "tiny"\nreason = "licensed"\nowner = "legal"\nexpires = 2027-03-31\n'


OUTCOME, MODEL, RUN = 'outcome = "copy"\n', 'model = "tiny"\n', 'run = "abcdef0"\n'


def entry(id: str, expires: date = date(2027, 1, 1)) -> Ignore:
    return Ignore(id=id, outcome="copy", model="tiny", reason="licensed", owner="legal", expires=expires)


def read(overrides: dict[str, Any], start: Path, file: Path | None = None, held: Sequence[Policy] = ()) -> Policy:
    return read_policy(overrides, start, file, held).policy


def refused(start: Path, overrides: dict[str, Any] | None = None, file: Path | None = None) -> str:
    with pytest.raises(MemdetectError) as caught:
        read_policy(overrides or {}, start, file)
    assert caught.value.exit == Exit.USAGE
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder two levels below the root of a repository."""
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    return inner


def test_defaults_where_nothing_is_written(repository: Path) -> None:
    assert read({}, repository) == Policy()
    assert (Policy().fail_on, Policy().fdr, Policy().level, Policy().max_rate) == ("suspicious", 0.05, 0.01, None)


def test_memdetect_toml_and_pyproject_say_the_same(repository: Path) -> None:
    body = 'fail-on = "copy"\nmax-rate = 0.005\nmin-coverage = 1\nmax-undetectable = 0.1\n'
    expected = Policy(fail_on="copy", max_rate=0.005, min_coverage=1.0, max_undetectable=0.1)
    (repository / "memdetect.toml").write_text(f"[policy]\n{body}")
    assert read({}, repository) == expected
    (repository / "memdetect.toml").unlink()
    (repository / "pyproject.toml").write_text(f'[project]\nname = "x"\n[tool.memdetect.policy]\n{body}')
    assert read({}, repository) == expected


def test_options_over_memdetect_toml_over_pyproject(repository: Path) -> None:
    (repository / "memdetect.toml").write_text("[policy]\nfdr = 0.1\nlevel = 0.02\n")
    (repository / "pyproject.toml").write_text("[tool.memdetect.policy]\nfdr = 0.2\nconfidence = 0.9\n")
    found = read({"fdr": 0.3, "level": None}, repository)
    assert (found.fdr, found.level, found.confidence) == (0.3, 0.02, 0.95)


def test_the_nearest_file_that_says_something(repository: Path) -> None:
    """A pyproject.toml without a policy does not stop the search; one outside the repository is not looked at."""
    root = repository.parents[1]
    (root.parent / "memdetect.toml").write_text("[policy]\nfdr = 0.4\n")
    (repository / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert read({}, repository).fdr == 0.05
    (root / "pyproject.toml").write_text("[tool.memdetect.policy]\nfdr = 0.2\n")
    assert read({}, repository).fdr == 0.2
    (repository.parent / "memdetect.toml").write_text("[policy]\n")
    assert read({}, repository).fdr == 0.05


def test_without_a_repository_only_the_folder_itself(tmp_path: Path) -> None:
    """Anyone may write to a folder such as /tmp above it."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "memdetect.toml").write_text("[policy]\nfdr = 0.2\n")
    (tmp_path / IGNORE_FILE).write_text(f"[[ignore]]\n{ENTRY}")
    assert read({}, inner) == Policy()
    assert read({}, tmp_path).fdr == 0.2


def test_a_named_file_takes_the_place_of_the_search(repository: Path) -> None:
    (repository / "memdetect.toml").write_text("[policy]\nfdr = 0.2\n")
    strict = repository / "strict.toml"
    strict.write_text('[policy]\nfail-on = "copy"\n')
    assert read({}, repository, strict) == Policy(fail_on="copy")
    assert "No such file" in refused(repository, file=repository / "missing.toml")
    strict.write_text("")
    assert "strict.toml holds no policy" in refused(repository, file=strict)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[policy]\nfail-onn = 'copy'\n", "has no key 'fail-onn'; did you mean 'fail-on'?"),
        ("[policy]\nmax_rate = 0.1\n", "has no key 'max_rate'; did you mean 'max-rate'?"),
        ("[policy]\nignore = []\n", "has no key 'ignore'; (have: "),
        ("[polcy]\nfdr = 0.1\n", "has no key 'polcy'; did you mean 'policy'?"),
        ("fdr = 0.1\n", "has no key 'fdr'; (have: policy)"),
        ("policy = 3\n", "policy is 3, expected a table"),
        ("[policy\n", "memdetect.toml is no TOML"),
        ("[policy]\nfdr = '0.1'\n", "fdr: Input should be a valid number (found '0.1')"),
        ("[policy]\nfdr = true\n", "fdr: Input should be a valid number (found True)"),
        ("[policy]\nfdr = nan\n", "fdr: Input should be a finite number (found nan)"),
        ("[policy]\nfdr = 0\n", "fdr: Input should be greater than or equal to 0.000001 (found 0)"),
        ("[policy]\nmax-rate = 5\n", "max-rate: Input should be less than 1 (found 5)"),
        ("[policy]\nmin-coverage = 1.1\n", "min-coverage: Input should be less than or equal to 1"),
        (
            "[policy]\nfail-on = 'never'\n",
            "fail-on: Input should be 'copy', 'partial-copy', 'suspicious' or 'none' (found 'never')",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text: str, said: str, repository: Path) -> None:
    (repository / "memdetect.toml").write_text(text)
    message = refused(repository)
    assert said in message
    assert "memdetect.toml" in message


def test_unknown_keys_of_pyproject_are_refused(repository: Path) -> None:
    (repository / "pyproject.toml").write_text("[tool.memdetect]\npolcy = 1\n")
    assert "pyproject.toml: tool.memdetect has no key 'polcy'; did you mean 'policy'?" in refused(repository)


def test_a_file_that_is_not_utf8_is_one_line(repository: Path) -> None:
    (repository / "memdetect.toml").write_bytes(b"[policy]\n# caf\xe9\n")
    assert "is no TOML" in refused(repository)


def test_a_file_stands_for_the_whole_policy_even_where_it_says_what_the_defaults_say(repository: Path) -> None:
    """A file says so, whether or not it differs; an empty table says: the defaults."""
    held = [Policy(fail_on="none", max_rate=0.3, max_undetectable=0.5)]
    for text in ("[policy]\nfail-on = 'suspicious'\n", "[policy]\n"):
        (repository / "memdetect.toml").write_text(text)
        found = read_policy({}, repository, held=held)
        assert (found.policy, found.source) == (Policy(), "'memdetect.toml'")
    assert read_policy({"fdr": 0.1}, repository, held=held).policy == Policy(fdr=0.1)
    (repository / "memdetect.toml").write_text("")
    assert read_policy({}, repository, held=held).policy == held[0]


def test_it_is_known_whose_policy_it_is(repository: Path) -> None:
    held = [Policy(fail_on="none")]
    assert read_policy({}, repository).source == "the default policy"
    assert read_policy({"max_rate": 0.1, "fdr": 0.1}, repository, held=held).source == (
        "the policy fixed in the run under --fdr, --max-rate"
    )
    assert read_policy({}, repository, held=held * 2).source == "the policy fixed in the runs"
    (repository.parent / "pyproject.toml").write_text("[tool.memdetect.policy]\n")
    assert read_policy({}, repository, held=held).source == f"'{Path('..', 'pyproject.toml')}'"


def test_runs_of_two_policies_need_a_word_on_each_key_that_differs(repository: Path) -> None:
    held = [Policy(fail_on="none", level=0.02), Policy(level=0.03)]
    for order in (held, held[::-1]):
        with pytest.raises(MemdetectError, match=r'different policies: fail-on is "none" and "suspicious"; say which'):
            read_policy({}, repository, held=order)
        with pytest.raises(MemdetectError, match=r"different policies: level is 0.02 and 0.03; .*--level"):
            read_policy({"fail_on": "copy"}, repository, held=order)
        assert read({"fail_on": "copy", "level": 0.1}, repository, held=order) == Policy(fail_on="copy", level=0.1)
        strict = repository / "strict.toml"
        strict.write_text("[policy]\n")
        assert read({}, repository, strict, order) == Policy()


def test_only_the_suppressions_of_the_place_count(repository: Path) -> None:
    """Those that a run holds were removed here, or belong to another place."""
    held = [Policy(ignore=(entry("a"),))]
    assert read({}, repository, held=held).ignore == ()
    (repository / IGNORE_FILE).write_text("")
    (repository.parent / IGNORE_FILE).write_text(f"[[ignore]]\n{ENTRY}")
    assert read({}, repository, held=held).ignore == ()
    (repository / IGNORE_FILE).unlink()
    assert [found.id for found in read({}, repository, held=held).ignore] == ["a1"]


LIMITS = {
    "fdr": (1e-6, 0.5, [0.0, 9e-7, 1e-300, 0.51, 1.0]),
    "level": (1e-6, 0.5, [0.0, 9e-7, 0.51]),
    "delta": (1e-6, 0.5, [0.0, 9e-7, 0.51]),
    "confidence": (0.5, 0.999, [0.0, 1e-9, 0.49, 1.0]),
    "max_rate": (1e-6, 0.999, [0.0, 1e-300, 1.0]),
    "max_undetectable": (0.0, 0.999, [-1e-9, 1.0]),
    "max_one_colour": (0.0, 0.999, [-1e-9, 1.0]),
    "min_coverage": (0.0, 1.0, [-0.1, 1.1]),
    "min_recall": (0.0, 1.0, [-0.1, 1.1]),
    "min_screen_recall": (0.0, 1.0, [-0.1, 1.1]),
    "min_sensitivity": (0.0, 1.0, [-0.1, 1.1]),
}


@pytest.mark.parametrize("key", LIMITS)
def test_limits_are_taken_within_their_range_and_refused_outside(key: str, repository: Path) -> None:
    assert set(LIMITS) == set(Policy.model_fields) - {"fail_on", "ignore"}
    low, high, outside = LIMITS[key]
    for value in (low, high):
        assert getattr(read({key: value}, repository), key) == value
    for value in (*outside, math.nan, math.inf, -math.inf, True, "0.1", 10**400):
        assert refused(repository, {key: value}).startswith(f"options: {key.replace('_', '-')}: Input should be ")


def test_wrong_options_are_refused(repository: Path) -> None:
    assert (
        refused(repository, {"max_rate": 2.0})
        == "options: max-rate: Input should be less than 1 (found 2.0); correct it"
    )
    assert "options: fail-on" in refused(repository, {"fail_on": "never"})


@pytest.mark.parametrize("missing", ["id", "reason", "owner", "expires"])
def test_an_entry_without_a_field_is_refused(missing: str, repository: Path) -> None:
    lines = [line for line in ENTRY.splitlines() if not line.startswith(missing)]
    (repository / IGNORE_FILE).write_text("[[ignore]]\n" + "\n".join(lines))
    assert f"ignore entry 1: {missing}: Field required" in refused(repository)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[[ignore]]\n{ENTRY.replace('legal', ' ')}", "owner: holds no letter or digit that can be seen (found ' ')"),
        (f"[[ignore]]\n{ENTRY.replace('legal', chr(0x200B))}", "owner: holds no letter or digit that can be seen"),
        (f"[[ignore]]\n{ENTRY.replace('licensed', chr(0x3164))}", "reason: holds no letter or digit that can be seen"),
        (f"[[ignore]]\n{ENTRY.replace('licensed', chr(0x2800) + chr(0x301))}", "reason: holds no letter or digit"),
        (f"[[ignore]]\n{ENTRY.replace(OUTCOME, '')}", "give either outcome or copy-of: what the entry answers for"),
        (f"[[ignore]]\n{ENTRY}copy-of = 'k'\n", "give either outcome or copy-of: what the entry answers for"),
        (f"[[ignore]]\n{ENTRY.replace(MODEL, '')}", "give either model or run: what the entry was given for"),
        (f"[[ignore]]\n{ENTRY}run = 'abcdef01'\n", "give either model or run: what the entry was given for"),
        (f"[[ignore]]\n{ENTRY.replace(MODEL, RUN)}", "run: String should match pattern"),
        (
            f"[[ignore]]\n{ENTRY.replace('copy', 'clear')}",
            "outcome: Input should be 'copy', 'partial-copy', 'suspicious' or 'similar'",
        ),
        (f"[[ignore]]\n{ENTRY}copy_of = 'k'\n", "has no key 'copy_of'; did you mean 'copy-of'?"),
        (f"[[ignore]]\n{ENTRY}expire = 2027-01-01\n", "has no key 'expire'; did you mean 'expires'?"),
        (f"[[ignore]]\n{ENTRY.replace('2027-03-31', '2027-03-31T00:00:00Z')}", "expires: "),
        (f"[[ignore]]\n{ENTRY.replace('2027-03-31', chr(34) + '2027-03-31' + chr(34))}", "expires: "),
        (f"[[ignore]]\n{ENTRY}[[ignore]]\n{ENTRY}", "ignore entry 2: the id 'a1' is there already"),
        (f"[ignore]\n{ENTRY}", "ignore is not a list of tables"),
        (f"[[ignored]]\n{ENTRY}", "has no key 'ignored'; did you mean 'ignore'?"),
    ],
)
def test_a_broken_ignore_file_is_refused(text: str, said: str, repository: Path) -> None:
    (repository.parents[1] / IGNORE_FILE).write_text(text)
    assert said in refused(repository)


def test_ignores_are_found_upwards_and_part_of_the_policy(repository: Path) -> None:
    path = repository.parents[1] / IGNORE_FILE
    path.write_text(f"[[ignore]]\n{ENTRY}")
    expected = (entry("a1", date(2027, 3, 31)),)
    assert read({}, repository).ignore == read_ignores(path) == expected


def test_the_digest_is_that_of_the_canonical_json() -> None:
    text = (
        '{"confidence":0.95,"delta":null,"fail_on":"suspicious","fdr":0.05,"ignore":[],"level":0.01,'
        '"max_one_colour":0.05,"max_rate":null,"max_undetectable":null,"min_coverage":null,"min_recall":0.9,'
        '"min_screen_recall":0.9,"min_sensitivity":0.5}'
    )
    assert Policy().digest == hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(text) == Policy().model_dump(mode="json")


def test_the_digest_follows_every_field() -> None:
    changed = [
        Policy(fail_on="copy"),
        Policy(fdr=0.1),
        Policy(level=0.02),
        Policy(max_rate=0.1),
        Policy(confidence=0.9),
        Policy(min_coverage=0.5),
        Policy(max_undetectable=0.5),
        Policy(delta=0.1),
        Policy(min_sensitivity=0.0),
        Policy(min_recall=0.5),
        Policy(min_screen_recall=0.5),
        Policy(max_one_colour=0.5),
        Policy(ignore=(entry("a"),)),
    ]
    assert len({policy.digest for policy in [Policy(), *changed]}) == len(Policy.model_fields) + 1
    assert Policy(min_coverage=1).digest == Policy(min_coverage=1.0).digest


@pytest.mark.parametrize("name", ["memdetect.toml", "pyproject.toml"])
@pytest.mark.parametrize("kind", ["dangling", "looping", "pipe", "folder"])
def test_a_policy_that_is_no_file_is_not_passed_over(name: str, kind: str, repository: Path) -> None:
    path = repository / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/nowhere/policy.toml" if kind == "dangling" else name)
    with pytest.raises(MemdetectError, match=f"{name} is no file that can be read") as caught:
        read_policy({}, repository)
    assert caught.value.exit is Exit.USAGE


def test_a_policy_may_begin_with_a_byte_order_mark(repository):
    (repository / "memdetect.toml").write_text("\ufeff[policy]\nfdr = 0.2\n", encoding="utf-8")
    assert read_policy({}, repository).policy.fdr == 0.2
