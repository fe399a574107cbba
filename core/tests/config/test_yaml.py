"""YAML 1.2, bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from lot.config.yaml import MAX_BYTES, dump_yaml, parse_yaml, read_yaml
from lot.errors import BadInput


def test_numbers_and_words_follow_yaml_1_2() -> None:
    found = parse_yaml("a: 3e-4\nb: no\nc: 1e3\nd: 010\ne: null\nf: {7: {x: true}}", "x")
    assert found == {"a": 3e-4, "b": "no", "c": 1000.0, "d": 10, "e": None, "f": {7: {"x": True}}}
    assert isinstance(found["a"], float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "run.yaml, line 1, column 5: not YAML"),
        ("a: 1\na: 2", 'run.yaml, line 2, column 1: not YAML: found duplicate key "a"$'),
        ("&a [*a]", "an alias contains itself"),
        ("a: !!python/object/apply:os.system [x]", "not YAML: could not determine a constructor"),
        ("[" * 5000, "nested too deeply"),
        ("a: *b", "undefined alias"),
    ],
)
def test_what_is_not_yaml_is_one_line(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        parse_yaml(text, "run.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " \n", "# nothing"])
def test_an_empty_value_is_no_null_but_an_empty_file_is_empty(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="x: empty value; write null for none"):
        parse_yaml(text, "x")
    assert [parse_yaml(null, "x") for null in ("null", "~", " NULL # none")] == [None, None, None]
    file = tmp_path / "empty.yaml"
    file.write_text(text)
    assert read_yaml(file) is None


def test_below_a_section_of_a_file_a_key_needs_a_value(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("train:\n  # clip: 1.0\nmodel: {width: 8, max_len: null}\nseed: 1\n")
    assert read_yaml(file) == {"train": None, "model": {"width": 8, "max_len": None}, "seed": 1}
    for text in ("seed: 1\ntrain:\n  clip:\n  steps: 3\n", "seed: 1\n\ntrain: {clip: , steps: 3}\n"):
        file.write_text(text)
        with pytest.raises(BadInput, match=r"run\.yaml, line 3: clip has no value; write null for none, or \{\} for"):
            read_yaml(file)
    with pytest.raises(BadInput, match="x, line 1: clip has no value"):
        parse_yaml("{clip: , steps: 3}", "x")


def test_an_alias_bomb_is_refused_before_it_is_expanded() -> None:
    names = "abcdefghij"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{n}: &{n} [{', '.join([f'*{p}'] * 9)}]" for p, n in zip(names, names[1:], strict=False)]
    with pytest.raises(BadInput, match="aliases are expanded"):
        parse_yaml("\n".join(lines), "bomb.yaml")


def test_files_are_bounded_and_text(tmp_path: Path) -> None:
    big, binary = tmp_path / "big.yaml", tmp_path / "binary.yaml"
    big.write_text("a: " + "x" * MAX_BYTES)
    binary.write_bytes(b"a: \xff")
    with pytest.raises(BadInput, match="256 KiB"):
        read_yaml(big)
    with pytest.raises(BadInput, match="bad byte at offset 3"):
        read_yaml(binary)
    with pytest.raises(BadInput, match="cannot be read"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(BadInput, match="cannot be read"):
        read_yaml(tmp_path)


def test_dump_is_read_back() -> None:
    value = {
        "seed": 0,
        "task": {"name": "x", "lr": 1e-5, "l": [1, 2.5], "n": None, "t": True},
        "d": {},
        "m": {1: {"a": "no"}},
    }
    assert parse_yaml(dump_yaml(value), "x") == value
