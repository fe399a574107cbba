"""The task text_stream: splits by content, mixtures in fixed shares, windows, tokenizers, and what a run keeps of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lot import IGNORED, BadInput, Component, Split, Task
from lot.testing import check_task, checks
from lot_tasks.stream import index
from lot_tasks.stream.config import TextStreamConfig
from lot_tasks.stream.corpus import Tokens, divide
from lot_tasks.stream.index import Index
from lot_tasks.stream.mixture import BLOCK, assign, shares_of
from lot_tasks.stream.sources import content_of
from lot_tasks.text.source import SPLITS

Make = Callable[..., Task]
WORDS = ["alpha", "beta", "gamma", "δέλτα", "epsilon", "ζ", "eta", "theta", "iota", "kappa"]


def texts_of(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{seed}-{i} " + " ".join(rng.choice(WORDS, int(rng.integers(3, 30)))) for i in range(count)]


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def whole_split(task: Any, split: Split) -> list[int]:
    """Every token of validation or test, in order."""
    tokens = task.opened.held_out[split]
    return tokens.take(np.array([0]), len(tokens))[0].tolist()


def documents_of(task: Any, split: Split) -> list[str]:
    """The documents of a split of bytes."""
    parts = [task.opened.held_out[split]] if split != "train" else task.opened.training
    ids = [token for tokens in parts for token in tokens.take(np.array([0]), len(tokens))[0].tolist()]
    documents: list[list[int]] = [[]]
    for token in ids:
        if token == 256:
            documents.append([])
        else:
            documents[-1].append(token)
    assert documents.pop() == []
    return [bytes(document).decode() for document in documents]


def test_every_document_is_in_one_split_and_copies_are_in_the_same(build: Make, tmp_path: Path) -> None:
    texts = texts_of(2000)
    one = write(tmp_path / "a.jsonl", [*texts, *texts[:500]])
    other = write(tmp_path / "b.jsonl", texts[1000:1500])
    task = build("text_stream", mixture={one: 1, other: 2}, seq_len=16)
    found = {split: documents_of(task, split) for split in SPLITS}
    assert sorted(text for split in SPLITS for text in found[split]) == sorted(
        [*texts, *texts[:500], *texts[1000:1500]]
    )
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not set(found[first]) & set(found[second])
    for split in ("validation", "test"):
        assert len(set(found[split])) / 2000 == pytest.approx(0.05, abs=0.02)


def test_the_split_of_a_document_depends_on_its_text_alone(build: Make, tmp_path: Path) -> None:
    texts = texts_of(2000)
    alone = build("text_stream", path=write(tmp_path / "a.jsonl", texts), seq_len=16)
    among = build("text_stream", 1, path=write(tmp_path / "b.jsonl", texts[::-1] + texts_of(500, 1)), seq_len=32)
    (tmp_path / "c.txt").write_text("\n\n".join(texts))
    plain = build("text_stream", path=str(tmp_path / "c.txt"), seq_len=16)
    for split in SPLITS:
        assert set(documents_of(alone, split)) <= set(documents_of(among, split))
        assert documents_of(plain, split) == documents_of(alone, split)


def test_windows_are_the_documents_with_the_end_between_them(build: Make, tmp_path: Path) -> None:
    task: Any = build("text_stream", path=write(tmp_path / "a.jsonl", texts_of(800)), seq_len=50)
    (tokens,) = task.opened.training
    walk = tokens.take(np.array([0]), len(tokens))[0]
    text = walk.astype("<u2").tobytes()
    assert (walk == 256).sum() == len(documents_of(task, "train"))
    for number in (0, 3, 10**6):
        batch = task.batch("train", number, 8)
        assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
            row = np.append(inputs.numpy(), targets[-1].item()).astype("<u2").tobytes()
            assert row in text


def test_fixed_windows_come_again_in_every_pass(build: Make, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", texts_of(60))

    def different(windows: str) -> tuple[int, int]:
        """Windows of a pass, and different ones among those of four passes and more."""
        task = build("text_stream", path=path, seq_len=16, windows=windows)
        of_pass = (len(task.opened.training[0]) - 16) // 16
        rows = task.batch("train", 0, BLOCK * -(-4 * of_pass // BLOCK)).inputs
        return of_pass, len(torch.unique(rows, dim=0))

    of_pass, found = different("fixed")
    assert found <= of_pass  # some windows are alike
    of_pass, found = different("shifted")
    assert found > 2 * of_pass


def test_validation_and_test_score_every_target_once(build: Make, tmp_path: Path) -> None:
    task: Any = build("text_stream", path=write(tmp_path / "a.jsonl", texts_of(800)), seq_len=50)
    for split in ("validation", "test"):
        expected = whole_split(task, split)
        count = task.length(split)
        targets = torch.cat([task.batch(split, i, 5).targets.flatten() for i in range(-(-count // 5))])
        assert targets[targets != IGNORED].tolist() == expected[1:]


def test_held_out_tokens_are_the_beginning(build: Make, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", texts_of(800))
    task, short = (build("text_stream", path=path, seq_len=50, held_out_tokens=most) for most in (None, 500))
    assert short.length("test") == 10
    assert task.length("test") > 10
    assert torch.equal(short.batch("test", 0, 10).targets, task.batch("test", 0, 10).targets)


def test_stretches_are_taken_and_counted_as_one_sequence() -> None:
    rng = np.random.default_rng(0)
    files = [rng.integers(0, 9, 100).astype(np.uint16) for _ in range(3)]
    stretches = np.array([[2, 90, 10], [0, 0, 1], [1, 50, 50], [0, 7, 0], [0, 3, 2]])
    expected = np.concatenate([files[file][first : first + size] for file, first, size in stretches])
    tokens = Tokens(files, stretches)
    assert len(tokens) == len(expected)
    starts = np.arange(len(expected) - 19)
    assert (tokens.take(starts, 20) == np.stack([expected[start : start + 20] for start in starts])).all()
    assert tokens.counts(9).tolist() == np.bincount(expected, minlength=9).tolist()


def test_a_given_split_is_kept_and_what_it_holds_out_is_trained_on_nowhere() -> None:
    def made(hashes: list[int]) -> Index:
        ends = 2 * np.arange(1, len(hashes) + 1)
        tokens = np.repeat(np.array(hashes, dtype=np.uint64), 2)
        return Index(key="", title="", tokens=tokens, ends=ends, hashes=np.array(hashes, dtype=np.uint64), empty=0)

    large = [2**63 + i for i in range(6)]  # of training, by content
    given: list[tuple[Index, Split | None]] = [
        (made([*large[:4], 1]), "train"),
        (made([large[0], large[4]]), "validation"),
        (made([large[0], large[1]]), "test"),
    ]
    first, second = divide([given, [(made([*large, 1]), None)]], 0.05, 0.05)
    walks = {split: tokens.take(np.array([0]), len(tokens))[0, ::2].tolist() for split, tokens in first.items()}
    as_read = {split: [value % 2**63 for value in found] for split, found in walks.items()}
    assert as_read == {"train": [2, 3], "validation": [4], "test": [0, 1]}
    train = second["train"]
    assert [value % 2**63 for value in train.take(np.array([0]), len(train))[0, ::2].tolist()] == [2, 3, 5]


@pytest.mark.parametrize("weights", [[1.0], [3, 1], [0.2, 5, 1], [1000, 1], [1 / 3, 1 / 3, 1 / 3]])
def test_every_source_has_its_share_and_its_sequences_come_in_turn(weights: list[float]) -> None:
    shares = shares_of(weights)
    assert shares.sum() == BLOCK
    assert np.abs(shares / BLOCK - np.array(weights) / sum(weights)).max() < 1 / BLOCK
    sources, numbers = assign(np.arange(3 * BLOCK), shares, 5)
    for source, share in enumerate(shares):
        for block in range(3):
            mine = numbers[block * BLOCK : (block + 1) * BLOCK][sources[block * BLOCK : (block + 1) * BLOCK] == source]
            assert sorted(mine.tolist()) == list(range(block * share, (block + 1) * share))
    some = np.array([2000, 3, 1024])
    assert (assign(some, shares, 5)[0] == sources[some]).all()


def test_a_weight_that_would_have_no_share_is_refused() -> None:
    with pytest.raises(BadInput, match=r"mixture: expected weights of at least 1/1024 of their sum, got 1"):
        shares_of([1, 10_000])


def test_a_mixture_draws_from_its_sources_by_weight(build: Make, tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", ["a" * 20 + str(i) for i in range(900)])
    two = write(tmp_path / "b.jsonl", ["b" * 20 + str(i) for i in range(900)])
    task = build("text_stream", mixture={one: 3, two: 1}, seq_len=16)
    letters = task.batch("train", 0, 1024).inputs
    share = float(((letters == ord("b")).any(1)).double().mean())
    assert share == 0.25
    assert {chr(token) for token in set(whole_split(task, "validation")) - {256}} >= {"a", "b"}


def test_a_character_that_training_lacks_is_unknown_and_counts_are_those_of_training(
    build: Make, tmp_path: Path
) -> None:
    texts = texts_of(800)
    task: Any = build("text_stream", path=write(tmp_path / "a.jsonl", texts), seq_len=16, tokenizer="char")
    training = documents_of(build("text_stream", path=str(tmp_path / "a.jsonl"), seq_len=16), "train")
    letters = sorted(set("".join(training)))
    assert task.tokenizer.vocabulary == [*letters, "<unk>", "<|end|>"]
    together = "".join(training)
    assert task.token_counts.tolist() == [*(together.count(letter) for letter in letters), 0, len(training)]
    assert task.decode(task.encode("δέλτα")) == "δέλτα"
    with pytest.raises(BadInput, match="the prompt holds 'Ж', which the training text never does"):
        task.encode("Ж")
    ids = task.batch("train", 0, 4).inputs
    assert "<|end|>" in "".join(map(task.decode, ids))


def tokenizer_file(path: Path, special: list[str]) -> str:
    library = pytest.importorskip("tokenizers")
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(texts_of(200), trainer)
    model.enable_truncation(8)
    model.enable_padding(length=64)
    model.save(str(path))
    return str(path)


def test_a_tokenizer_file_ends_documents_by_its_own_token_which_no_text_can_forge(build: Make, tmp_path: Path) -> None:
    file = tokenizer_file(tmp_path / "t.json", ["<pad>", "<|endoftext|>"])
    texts = [f"{text} <|endoftext|> {i}" for i, text in enumerate(texts_of(500))]
    task: Any = build("text_stream", path=write(tmp_path / "a.jsonl", texts), seq_len=16, tokenizer=file)
    assert task.tokenizer.end == 1
    (tokens,) = task.opened.training
    walk = tokens.take(np.array([0]), len(tokens))[0]
    documents = [task.decode(piece[piece != 1]) for piece in np.split(walk, np.flatnonzero(walk == 1) + 1)[:-1]]
    assert set(documents) <= set(texts)
    assert len(documents) > 400
    named = build("text_stream", path=str(tmp_path / "a.jsonl"), seq_len=16, tokenizer=file, end="<pad>")
    assert named.tokenizer.end == 0
    with pytest.raises(BadInput, match=r"end: expected a token of the tokenizer file, got '<x>'"):
        build("text_stream", path=str(tmp_path / "a.jsonl"), tokenizer=file, end="<x>")


def test_a_tokenizer_file_without_such_a_token_gets_one(build: Make, tmp_path: Path) -> None:
    file = tokenizer_file(tmp_path / "t.json", [])
    task: Any = build("text_stream", path=write(tmp_path / "a.jsonl", texts_of(500)), seq_len=16, tokenizer=file)
    assert task.tokenizer.end == task.vocab_size - 1 == 320
    assert task.decode([*task.encode("eta"), 320, *task.encode("ζ")]) == "eta<|end|>ζ"


@pytest.mark.parametrize("tokenizer", ["byte", "char"])
def test_the_kit_passes_on_files(components: dict[str, Component], tmp_path: Path, tokenizer: str) -> None:
    path = write(tmp_path / "a.jsonl", texts_of(1500))
    check_task(components["text_stream"], path=path, tokenizer=tokenizer, seq_len=32)


def test_a_run_keeps_a_tokenizer_file_and_no_documents(components: dict[str, Component], tmp_path: Path) -> None:
    file = tokenizer_file(tmp_path / "t.json", ["</s>"])
    path = write(tmp_path / "a.jsonl", texts_of(1500))
    checks("task")["assets"](components["text_stream"], {"path": path, "tokenizer": file, "seq_len": 32})


def test_a_moved_run_finds_a_folder_again_or_says_what_it_was(
    build: Make, components: dict[str, Component], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "data").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path("data/a.jsonl"), texts_of(500))
    options: dict[str, Any] = {"path": "data", "seq_len": 16, "tokenizer": "char"}
    task = build("text_stream", **options)
    monkeypatch.chdir(tmp_path / "there")
    factory = components["text_stream"].load()
    config = components["text_stream"].configure(**options)
    again = factory.from_assets(config, 0, task.assets())
    assert torch.equal(again.batch("validation", 0, 4).inputs, task.batch("validation", 0, 4).inputs)
    assert again.origin == task.origin
    shutil.move(tmp_path / "here" / "data", tmp_path / "there" / "other")
    lost = factory.from_assets(config, 0, task.assets())
    assert lost.decode(lost.encode("alpha")) == "alpha"
    with pytest.raises(
        BadInput, match=r"task\.path: what the run was trained on is not here: .*data \(1 file, .* bytes"
    ):
        lost.length("validation")
    named = factory.from_assets(config, 0, task.assets(), Path("other"))
    assert torch.equal(named.batch("train", 0, 4).inputs, task.batch("train", 0, 4).inputs)


def test_the_content_of_folders_and_globs_tells_what_was_edited(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "data" / f"{name}.jsonl", texts_of(20))
    folder, pattern = str(tmp_path / "data"), str(tmp_path / "data" / "*.jsonl")
    config = TextStreamConfig(mixture={folder: 1, pattern: 1})
    before = content_of(config)
    assert before[folder] == before[pattern]
    assert content_of(config) == before
    write(tmp_path / "data" / "b.jsonl", [*texts_of(20)[:-1], "edited"])
    edited = content_of(config)
    assert edited[folder] != before[folder]
    (tmp_path / "data" / "c.jsonl").write_text('{"text": "new"}\n')
    assert content_of(config)[pattern] != edited[pattern]


def test_looking_for_documents_imports_no_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", texts_of(20))
    code = (
        "import sys; from lot_tasks.plugin import lot_tasks\n"
        "component = {one.name: one for one in lot_tasks()}['text_stream']\n"
        f"options = component.configure(path={path!r})\n"
        "component.check_options(options); assert component.content_of(options)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_options_that_exclude_each_other_are_told(components: dict[str, Component], tmp_path: Path) -> None:
    component = components["text_stream"]
    assert component.parse({}, "task").corpus == "pydoc"
    assert component.parse({"path": "a.txt"}, "task").corpus is None
    with pytest.raises(BadInput, match=r"task\.corpus: expected none where path is given, got 'pydoc'; mixture takes"):
        component.parse({"path": "a.txt", "corpus": "pydoc"}, "task")
    with pytest.raises(BadInput, match=r"task\.mixture\.a\.txt: expected a weight above 0, got 0"):
        component.parse({"mixture": {"a.txt": 0}}, "task")
    for options, what in (
        ({"tokenizer": "word"}, r"tokenizer: expected char, byte or a file, got 'word'; word_lm takes"),
        ({"tokenizer": "gone.json"}, r"tokenizer: gone\.json cannot be read .*; char and byte need no file"),
        ({"end": "</s>"}, r"end: expected null without a tokenizer file, got '</s>'"),
        ({"mixture": {"gone.txt": 1}}, r"mixture\.gone\.txt: gone\.txt cannot be read"),
        ({"mixture": {"corpus:x": 1}}, r"mixture\.corpus:x: expected a corpus: pydoc, fineweb_edu"),
        ({"hub": "no name"}, r"hub: expected OWNER/NAME"),
    ):
        with pytest.raises(BadInput, match=what):
            component.build(0, **options)


def test_too_few_documents_are_told(build: Make, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one document\nof two lines\n" * 100)
    with pytest.raises(
        BadInput, match=r"seq_len: .*a\.txt: the train split: expected at least 32 tokens .* a separator"
    ):
        build("text_stream", path=str(tmp_path / "a.txt"), seq_len=16)


def test_the_same_documents_are_counted_once(build: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", texts_of(500))
    first = build("text_stream", path=path, seq_len=16)
    monkeypatch.setattr(Tokens, "counts", None)
    monkeypatch.setattr(index, "_make", None)
    second = build("text_stream", path=path, seq_len=16)
    assert torch.equal(first.token_counts, second.token_counts)
    assert torch.equal(first.batch("train", 2, 8).inputs, second.batch("train", 2, 8).inputs)


@pytest.mark.parametrize("tokenizer", ["byte", "char"])
@pytest.mark.parametrize("split", SPLITS)
def test_documents_apart_begin_with_the_token_that_ends_the_one_before(
    build: Make, tmp_path: Path, tokenizer: str, split: Split
) -> None:
    options = {"path": write(tmp_path / "a.jsonl", texts_of(600)), "seq_len": 64, "tokenizer": tokenizer}
    apart, joined = build("text_stream", documents="apart", **options), build("text_stream", **options)
    assert (apart.segments, joined.segments) == (True, False)
    found, plain = apart.batch(split, 0, 4), joined.batch(split, 0, 4)
    assert torch.equal(found.inputs, plain.inputs)
    assert torch.equal(found.targets, plain.targets), "every token is asked for, whatever its document"
    assert plain.segments is None
    for row, ids in zip(found.segments, found.inputs.tolist(), strict=True):
        number, expected = 0, []
        for token in ids:
            number += token == apart.tokenizer.end
            expected.append(number)
        assert row.tolist() == expected
    assert int(found.segments.max()) > 0
    again = type(apart).from_assets(TextStreamConfig(documents="apart", **options), 0, apart.assets())
    assert again.segments
