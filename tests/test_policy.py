"""A policy says exactly what was asked for: nothing misspelt is passed over, nothing expired still suppresses."""

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memdetect.errors import Exit, MemdetectError
from memdetect.policy import IGNORE_FILE, Ignore, Policy, read_ignores, read_policy, suppressions

TODAY = date(2026, 11, 24)
ENTRY = 'id = "a1"\nreason = "licensed"\nowner = "legal"\nexpires = 2027-03-31\n'


def entry(id: str, expires: date = date(2027, 1, 1)) -> Ignore:
    return Ignore(id=id, reason="licensed", owner="legal", expires=expires)


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
    assert read_policy({}, repository) == Policy()
    assert (Policy().fail_on, Policy().fdr, Policy().level, Policy().max_rate) == ("suspicious", 0.05, 0.01, None)


def test_memdetect_toml_and_pyproject_say_the_same(repository: Path) -> None:
    body = 'fail-on = "copy"\nmax-rate = 0.005\nmin-coverage = 1\nmax-undetectable = 0.1\n'
    expected = Policy(fail_on="copy", max_rate=0.005, min_coverage=1.0, max_undetectable=0.1)
    (repository / "memdetect.toml").write_text(f"[policy]\n{body}")
    assert read_policy({}, repository) == expected
    (repository / "memdetect.toml").unlink()
    (repository / "pyproject.toml").write_text(f'[project]\nname = "x"\n[tool.memdetect.policy]\n{body}')
    assert read_policy({}, repository) == expected


def test_options_over_memdetect_toml_over_pyproject(repository: Path) -> None:
    (repository / "memdetect.toml").write_text("[policy]\nfdr = 0.1\nlevel = 0.02\n")
    (repository / "pyproject.toml").write_text("[tool.memdetect.policy]\nfdr = 0.2\nconfidence = 0.9\n")
    found = read_policy({"fdr": 0.3, "level": None}, repository)
    assert (found.fdr, found.level, found.confidence) == (0.3, 0.02, 0.95)


def test_the_nearest_file_that_says_something(repository: Path) -> None:
    """A pyproject.toml without a policy does not stop the search; one outside the repository is not looked at."""
    root = repository.parents[1]
    (root.parent / "memdetect.toml").write_text("[policy]\nfdr = 0.4\n")
    (repository / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert read_policy({}, repository).fdr == 0.05
    (root / "pyproject.toml").write_text("[tool.memdetect.policy]\nfdr = 0.2\n")
    assert read_policy({}, repository).fdr == 0.2
    (repository.parent / "memdetect.toml").write_text("[policy]\n")
    assert read_policy({}, repository).fdr == 0.05


def test_without_a_repository_only_the_folder_itself(tmp_path: Path) -> None:
    """Anyone may write to a folder such as /tmp above it."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "memdetect.toml").write_text("[policy]\nfdr = 0.2\n")
    (tmp_path / IGNORE_FILE).write_text(f"[[ignore]]\n{ENTRY}")
    assert read_policy({}, inner) == Policy()
    assert read_policy({}, tmp_path).fdr == 0.2


def test_a_named_file_takes_the_place_of_the_search(repository: Path) -> None:
    (repository / "memdetect.toml").write_text("[policy]\nfdr = 0.2\n")
    strict = repository / "strict.toml"
    strict.write_text('[policy]\nfail-on = "copy"\n')
    assert read_policy({}, repository, strict) == Policy(fail_on="copy")
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
        ("[policy]\nfdr = 0\n", "fdr: Input should be greater than 0 (found 0)"),
        ("[policy]\nmax-rate = 5\n", "max-rate: Input should be less than 1 (found 5)"),
        ("[policy]\nmin-coverage = 1.1\n", "min-coverage: Input should be less than or equal to 1"),
        ("[policy]\nfail-on = 'never'\n", "fail-on: Input should be 'copy', 'suspicious' or 'none' (found 'never')"),
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
        (f"[[ignore]]\n{ENTRY.replace('legal', ' ')}", "owner: String should match"),
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
    expected = (Ignore(id="a1", reason="licensed", owner="legal", expires=date(2027, 3, 31)),)
    assert read_policy({}, repository).ignore == read_ignores(path) == expected


def test_expired_entries_suppress_nothing_and_unused_ones_are_named() -> None:
    """The day of expiry is the last one on which an entry holds."""
    last, gone, idle = entry("last", TODAY), entry("gone", date(2026, 11, 23)), entry("idle")
    found = suppressions(Policy(ignore=(last, gone, idle)), ["last", "gone", "other"], TODAY)
    assert (dict(found.used), found.expired, found.unused) == ({"last": last}, (gone,), (idle,))


@given(
    st.sets(st.sampled_from("abcdefgh")),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.dates()), unique_by=lambda pair: pair[0]),
    st.dates(),
)
def test_every_entry_is_used_expired_or_unused(ids: set[str], pairs: list[tuple[str, date]], today: date) -> None:
    policy = Policy(ignore=tuple(entry(id, expires) for id, expires in pairs))
    found = suppressions(policy, ids, today)
    assert sorted([*found.used.values(), *found.expired, *found.unused], key=str) == sorted(policy.ignore, key=str)
    assert set(found.used) <= ids
    assert all(e.expires >= today for e in found.used.values())


def test_the_digest_is_that_of_the_canonical_json() -> None:
    text = (
        '{"confidence":0.95,"delta":null,"fail_on":"suspicious","fdr":0.05,"ignore":[],"level":0.01,'
        '"max_rate":null,"max_undetectable":null,"min_coverage":null}'
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
        Policy(ignore=(entry("a"),)),
    ]
    assert len({policy.digest for policy in [Policy(), *changed]}) == len(Policy.model_fields) + 1
    assert Policy(min_coverage=1).digest == Policy(min_coverage=1.0).digest
