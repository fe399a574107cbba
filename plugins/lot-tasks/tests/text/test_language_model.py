"""Language modeling: splits, windows, tokenizers, the cache, and texts that cannot be used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lot import IGNORED, BadInput, Component, Task
from lot_tasks.config import TextConfig
from lot_tasks.text import corpora, tokens
from lot_tasks.text.source import SPLITS, open_source
from lot_tasks.text.tokenizers import Bytes, Characters, Words

Make = Callable[..., Task]
Components = dict[str, Component]
SENTENCE = "Grüße, world: a small text\nof two lines.\n"


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "δέλτα", "ε"]
    lines = [" ".join(rng.choice(words, 7)) for _ in range(300)]
    path = tmp_path / "words.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_file_is_divided_in_order_between_characters(text_file: Path) -> None:
    source = open_source(TextConfig(path=str(text_file)))
    data = text_file.read_bytes()
    parts = [source.parts[split] for split in SPLITS]
    assert b"".join(part.data.tobytes() for part in parts) == data
    assert "".join(part.text() for part in parts) == data.decode()  # no character is cut in two
    assert [len(part.data) / len(data) for part in parts] == pytest.approx([0.9, 0.05, 0.05], abs=3 / len(data))
    assert parts[1].offset == len(parts[0].data)


@pytest.mark.parametrize("count", [91, 92, 94, 95])
def test_no_cut_falls_inside_a_character(tmp_path: Path, count: int) -> None:
    path = tmp_path / "euro.txt"
    path.write_text("€" * count, encoding="utf-8")  # three bytes each
    parts = open_source(TextConfig(path=str(path))).parts
    assert sum(len(parts[split].text()) for split in SPLITS) == count


def test_validation_and_test_score_every_target_once(build: Make, text_file: Path) -> None:
    task = build("char_lm", path=str(text_file), seq_len=32)
    for split in ("validation", "test"):
        ids = task.tokens.ids[split].astype(np.int64)
        found = []
        for index in range(-(-task.length(split) // 4)):
            batch = task.batch(split, index, 4)
            assert batch.inputs.shape[1] == 32
            found += batch.targets[batch.targets != IGNORED].tolist()
            for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
                pairs = zip(inputs[1:], targets[:-1], strict=True)
                assert all(target in (token, IGNORED) for token, target in pairs)
        assert found == ids[1:].tolist()


def test_every_training_window_comes_once_a_pass_and_then_from_another_offset(build: Make, text_file: Path) -> None:
    task = build("char_lm", path=str(text_file), seq_len=32)
    windows = (len(task.tokens.ids["train"]) - 32) // 32
    passes = [np.sort(task._train_starts(np.arange(n * windows, (n + 1) * windows))) for n in range(4)]
    for starts in passes:
        assert (np.diff(starts) == 32).all()
        assert 0 <= starts[0] < 32
        assert starts[-1] + 33 <= len(task.tokens.ids["train"])
    assert len({int(starts[0]) for starts in passes}) > 1
    order = task._train_starts(np.arange(windows))
    assert (np.diff(order) != 32).any()


def test_fixed_windows_are_the_same_in_every_pass_and_for_every_seed(build: Make, text_file: Path) -> None:
    task = build("char_lm", path=str(text_file), seq_len=32, windows="fixed")
    windows = (len(task.tokens.ids["train"]) - 32) // 32
    passes = [task._train_starts(np.arange(n * windows, (n + 1) * windows)) for n in range(3)]
    for starts in passes:
        assert np.array_equal(np.sort(starts), np.arange(windows) * 32)
    assert not np.array_equal(passes[0], passes[1])


def test_windows_are_the_text_and_targets_come_one_later(build: Make, text_file: Path) -> None:
    task = build("char_lm", path=str(text_file), seq_len=16)
    text = open_source(TextConfig(path=str(text_file))).parts["train"].text()
    batch = task.batch("train", 5, 8)
    assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        assert task.decode(inputs) + task.decode(targets[-1:]) in text


def test_counts_are_those_of_the_training_split(build: Make, text_file: Path) -> None:
    task = build("bytes_lm", path=str(text_file), seq_len=16)
    data = open_source(TextConfig(path=str(text_file))).parts["train"].data
    assert task.token_counts.dtype == torch.int64
    assert task.token_counts.tolist() == [int((data == byte).sum()) for byte in range(256)]


def test_characters_that_training_lacks_become_one_scored_token(build: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("ab" * 500 + "cd" * 30, encoding="utf-8")
    task = build("char_lm", path=str(path), seq_len=8)
    assert task.tokens.tokenizer.vocabulary == ["a", "b", "<unk>"]
    assert task.token_counts[2] == 0
    assert task.unknown("train") == 0
    assert task.unknown("test") == 53
    assert (task.batch("test", 0, 100).targets == 2).sum() == 52
    assert task.decode([0, 1, 2]) == "ab\N{REPLACEMENT CHARACTER}"
    with pytest.raises(BadInput, match="the prompt holds 'c', which the training text never does"):
        task.encode("abc")


@pytest.mark.parametrize("tokenizer", [Characters.of(SENTENCE), Bytes()])
def test_characters_and_bytes_give_text_back(tokenizer: Characters | Bytes) -> None:
    assert tokenizer.decode(tokenizer.tokens(SENTENCE)) == SENTENCE
    assert tokenizer.encode("two\n") == tokenizer.tokens("two\n").tolist()


def test_words_are_ordered_by_frequency_and_rare_ones_unknown() -> None:
    words = Words.of("b a a\nb b c <unk>\n", min_count=2)
    assert words.vocabulary == ["<unk>", "b", "<eos>", "a"]
    assert words.tokens("a b c\nd").tolist() == [3, 1, 0, 2, 0]
    assert words.decode([3, 1, 2, 1]) == "a b\nb"
    with pytest.raises(BadInput, match="'zebra', which the training text never does, or fewer than min_count times"):
        words.encode("a zebra")


@pytest.mark.parametrize(("name", "options"), [("word_lm", {"min_count": 10_000}), ("text_lm", {"tokenizer": "word"})])
def test_a_text_of_unknown_words_alone_is_refused(
    build: Make, tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    path = tmp_path / "counted.txt"
    path.write_text(" ".join(f"{number:04}" for number in range(1000)))
    with pytest.raises(BadInput, match=r"would be <unk>.* times or more, got 1 at most; give a longer text"):
        build(name, path=str(path), seq_len=8, **options)


def test_bytes_that_are_no_text_are_told_with_file_and_offset(build: Make, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    good = "fine text. " * 200
    path.write_bytes(good.encode() + b"\xff" + good.encode())
    with pytest.raises(BadInput, match=rf"{path}: byte 2200 is not UTF-8 text .* bytes_lm"):
        build("char_lm", path=str(path), seq_len=8)
    late = tmp_path / "late.txt"
    late.write_bytes(good.encode() + b"\xff")
    with pytest.raises(BadInput, match=r"late.txt: byte 2200 is not UTF-8"):
        build("char_lm", path=str(late), seq_len=8)
    assert build("bytes_lm", path=str(path), seq_len=8).batch("test", 0, 2).inputs.shape == (2, 8)


def test_too_little_text_is_told_with_file_and_range(build: Make, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("x" * 400)
    message = (
        r"short.txt: bytes 360 to 380 are the validation split: expected at least 33 tokens .* got 20; give a longer"
    )
    with pytest.raises(BadInput, match=message):
        build("char_lm", path=str(path), seq_len=32)
    for text in ("", "x"):  # the one byte is for testing
        path.write_text(text)
        for name in ("char_lm", "bytes_lm", "word_lm"):
            with pytest.raises(BadInput, match=r"bytes 0 to 0 are the train split: expected at least 64 tokens"):
                build(name, path=str(path), seq_len=32)


def test_files_that_cannot_be_read_are_told(build: Make, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"path: .*nothing.txt cannot be read \(No such file"):
        build("char_lm", path=str(tmp_path / "nothing.txt"))
    with pytest.raises(BadInput, match=r"path: .* cannot be read \(Is a directory"):
        build("bytes_lm", path=str(tmp_path))


@pytest.mark.parametrize("name", ["char_lm", "bytes_lm", "word_lm", "text_lm"])
def test_json_lines_are_no_text_and_the_task_that_reads_them_is_told(build: Make, tmp_path: Path, name: str) -> None:
    path = tmp_path / "my notes.jsonl"
    path.write_text('{"id": "a", "body": "a long text, in \\"quotes\\""}\n' * 200)
    with pytest.raises(BadInput) as caught:
        build(name, path=str(path), seq_len=8)
    assert str(caught.value) == (
        f"path: {path} is JSON Lines: expected plain text; read it with lot run --task text_stream --set task.path='{path}' "
        f"--set task.field=body, or set task.format=raw to learn from it as it stands"
    )
    assert build(name, path=str(path), seq_len=8, format="raw").batch("train", 0, 2).inputs.shape == (2, 8)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PAR1\x15\x04\x15 and more", r"a Parquet file: .* read it with lot run --task text_stream --set task\.path="),
        (b"\x1f\x8b\x08 and more", "a gzip file"),
        (b"PK\x03\x04 and more", "a zip archive"),
        ("text".encode("utf-16"), "text in UTF-16"),
        (b"some text, then a zero\x00 in it", r"binary data \(byte 22 is 0\)"),
        (b'[\n  {\n    "text": "pretty"\n  }\n]\n', "JSON:"),
        (b'\xef\xbb\xbf{"a key": "x"}\n', r"JSON Lines: .* --set task\.field='a key'"),
        (b'{"ids": [1, 2]}\n', r"JSON Lines: .* --set task\.path=\S*data, or set"),
    ],
)
def test_other_formats_than_text_are_named(build: Make, tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(content * 100)
    with pytest.raises(BadInput, match=rf"^path: .*data is {what}"):
        build("bytes_lm", path=str(path), seq_len=8)


@pytest.mark.parametrize("text", ["{ a set }\n", '"Well," he said, "{x}"\n', "[1] a footnote\n", "{'a': 1}\n"])
def test_text_that_only_resembles_json_is_text(build: Make, tmp_path: Path, text: str) -> None:
    path = tmp_path / "prose.txt"
    path.write_text(text * 100)
    assert build("char_lm", path=str(path), seq_len=8).batch("train", 0, 2).inputs.shape == (2, 8)


def test_a_path_and_a_corpus_exclude_each_other_and_the_options_say_what_is_read(components: Components) -> None:
    component = components["char_lm"]
    with pytest.raises(BadInput, match=r"task\.corpus: expected none where path is given, got 'pydoc'"):
        component.parse({"path": "a.txt", "corpus": "pydoc"}, "task")
    with pytest.raises(BadInput, match=r"task\.format: expected text where no path is given"):
        component.parse({"format": "raw"}, "task")
    assert component.parse({}, "task").corpus == "pydoc"
    assert component.parse({"path": "a.txt"}, "task").corpus is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(build: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match=r"path: expected a file, got .*pipe, which is a pipe or a device"):
        build("char_lm", path=str(tmp_path / "pipe"))
    with pytest.raises(BadInput, match=r"path: 'a\\x00b' (is no path|cannot be read)"):
        build("char_lm", path="a\0b")


def test_a_long_text_is_encoded_once_and_mapped_from_the_cache(
    build: Make, text_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = build("word_lm", path=str(text_file), seq_len=8)
    assert not cache.exists()
    monkeypatch.setattr(tokens, "_KEPT", 0)
    first = build("word_lm", path=str(text_file), seq_len=8)
    (folder,) = (cache / "tokens").iterdir()
    monkeypatch.setattr(Words, "of", None)  # the second time nothing is counted
    second = build("word_lm", path=str(text_file), seq_len=8)
    assert isinstance(second.tokens.ids["train"], np.memmap)
    assert second.tokens.tokenizer.vocabulary == in_memory.tokens.tokenizer.vocabulary
    for split in SPLITS:
        assert (in_memory.tokens.ids[split] == first.tokens.ids[split]).all()
        assert (in_memory.tokens.ids[split] == second.tokens.ids[split]).all()
    assert sorted(path.name for path in folder.iterdir()) == [
        "test.npy",
        "train.npy",
        "validation.npy",
        "vocabulary.json",
    ]


def test_another_text_or_option_is_another_entry_of_the_cache(
    build: Make, text_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_KEPT", 0)
    build("word_lm", path=str(text_file), seq_len=8)
    build("word_lm", path=str(text_file), seq_len=8, min_count=400)
    build("char_lm", path=str(text_file), seq_len=8)
    text_file.write_text(text_file.read_text().replace("alpha", "omega"))
    build("char_lm", path=str(text_file), seq_len=8)
    assert len(list((cache / "tokens").iterdir())) == 4


def test_a_damaged_entry_of_the_cache_is_made_again(
    build: Make, text_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_KEPT", 0)
    expected = build("char_lm", path=str(text_file), seq_len=8).batch("train", 0, 8)
    (folder,) = (cache / "tokens").iterdir()
    damaged = folder / "train.npy"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    again = build("char_lm", path=str(text_file), seq_len=8)
    assert torch.equal(again.batch("train", 0, 8).inputs, expected.inputs)
    assert damaged.stat().st_size > 1000
    assert [path.name for path in (cache / "tokens").iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    build: Make, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_KEPT", 0)
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "occupied"))
    assert build("char_lm", path=str(text_file), seq_len=8).batch("train", 0, 2).inputs.shape == (2, 8)


def test_a_corpus_with_a_split_of_its_own_keeps_it(build: Make, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache / "corpora" / "sample"
    folder.mkdir(parents=True)
    for name, text in (("a.txt", "train words " * 50), ("b.txt", "valid words " * 20), ("c.txt", "test words " * 20)):
        (folder / name).write_text(text)

    class Sample(corpora.Corpus):
        def files(self) -> tuple[Path, ...]:
            return tuple(folder / name for name in ("a.txt", "b.txt", "c.txt"))

    sample = Sample(name="wikitext2", title="Sample", license="none", urls=("http://x/y",), sha256="00")
    monkeypatch.setitem(corpora.CORPORA, "wikitext2", sample)
    task = build("word_lm", corpus="wikitext2", seq_len=4)
    assert task.tokens.tokenizer.vocabulary == ["<unk>", "train", "words"]
    assert task.length("validation") == 10
    assert task.unknown("validation") == 20


def test_a_tokenizer_file_is_used(build: Make, text_file: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers")
    model = library.Tokenizer(library.models.BPE(unk_token="[UNK]"))
    model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator([text_file.read_text()], trainer)
    path = tmp_path / "bpe.json"
    model.save(str(path))
    task = build("text_lm", path=str(text_file), seq_len=16, tokenizer=str(path))
    assert task.vocab_size == model.get_vocab_size()
    assert len(task.tokens.ids["train"]) < len(text_file.read_text()) / 2
    assert task.decode(task.encode("beta δέλτα")) == "beta δέλτα"
    text = open_source(TextConfig(path=str(text_file))).parts["train"].text()
    assert task.decode(task.tokens.ids["train"]) == text


def test_a_tokenizer_whose_ids_have_holes_has_room_for_the_largest(
    build: Make, text_file: Path, tmp_path: Path
) -> None:
    library = pytest.importorskip("tokenizers")
    model = library.Tokenizer(library.models.WordLevel({"[UNK]": 0, "alpha": 3, "beta": 9}, unk_token="[UNK]"))
    model.pre_tokenizer = library.pre_tokenizers.Whitespace()
    path = tmp_path / "holes.json"
    model.save(str(path))
    task = build("text_lm", path=str(text_file), seq_len=16, tokenizer=str(path))
    assert task.vocab_size == 10
    assert task.token_counts[9] > 0
    assert task.encode("alpha beta") == [3, 9]


def test_tokenizer_files_that_cannot_be_used_are_told(build: Make, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"tokenizer: .*missing.json cannot be read"):
        build("text_lm", tokenizer=str(tmp_path / "missing.json"))
    with pytest.raises(BadInput, match=r"tokenizer: words cannot be read .*; char, byte and word need no file"):
        build("text_lm", tokenizer="words")
    with pytest.raises(BadInput, match=r"tokenizer: '~nobody-of-that-name/x' is no path"):
        build("text_lm", tokenizer="~nobody-of-that-name/x")
    pytest.importorskip("tokenizers")
    (tmp_path / "wrong.json").write_text("{}")
    with pytest.raises(BadInput, match=r"tokenizer: .*wrong.json is no tokenizer file"):
        build("text_lm", tokenizer=str(tmp_path / "wrong.json"))


@pytest.mark.skipif("LOT_TEST_DATA" not in os.environ, reason="LOT_TEST_DATA names no folder of corpora")
def test_real_corpora_are_what_is_registered_and_what_is_published(build: Make) -> None:
    folder = Path(os.environ["LOT_TEST_DATA"])
    shakespeare = folder / "tinyshakespeare.txt"
    assert hashlib.sha256(shakespeare.read_bytes()).hexdigest() == corpora.SHAKESPEARE.sha256
    task = build("char_lm", path=str(shakespeare))
    assert task.vocab_size == 65 + 1
    assert len(task.tokens.ids["train"]) == 1_003_854
    valid = (folder / "wikitext2-valid.txt").read_text(encoding="utf-8")
    assert len(Words.of(valid, min_count=1).tokens(valid)) == 217_646  # as Merity et al. count
