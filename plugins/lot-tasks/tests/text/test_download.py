"""Downloads from a server of our own: verified, resumed, and clear when nothing can be had."""

from __future__ import annotations

import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lot import BadInput
from lot_tasks.text.corpora import CORPORA, Corpus
from lot_tasks.text.download import fetch

DATA = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `data` at every path. cut: bytes after which it closes the connection; ranges: whether it can resume."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.cut, self.ranges = DATA, None, True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start and start >= len(server.data):
            self.send_error(416)
            return
        body = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut])

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def nowhere() -> str:
    """An address that does not answer."""
    with Server() as closed:
        return closed.url


def get(*urls: str, target: Path) -> bytes:
    return fetch(urls, target, sha256=SHA256, name="sample", fix="do this").read_bytes()


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "a" / "file.bin"
    assert get(server.url, target=target) == DATA
    assert get(server.url, target=target) == DATA
    assert server.asked == [None]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"downloading sample from {server.url} (1.0 MB)\n"
    assert not target.with_name("file.bin.part").exists()


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    server.cut = 300_000
    with pytest.raises(
        BadInput, match=r"sample is not in the cache .* closed after 300000 of 1024000 bytes\); do this"
    ):
        get(server.url, target=target)
    assert not target.exists()
    server.cut = None
    assert get(server.url, target=target) == DATA
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_that_cannot_resume_sends_everything_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"something else entirely")
    server.ranges = False
    assert get(server.url, target=tmp_path / "file.bin") == DATA


def test_a_complete_part_is_only_verified(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(DATA)
    assert get(server.url, target=tmp_path / "file.bin") == DATA


def test_a_beginning_of_another_file_is_fetched_again_from_the_start(server: Server, tmp_path: Path) -> None:
    for stale in (b"something else entirely", DATA + b"and more"):
        (tmp_path / "file.bin.part").write_bytes(stale)
        assert get(server.url, target=tmp_path / "file.bin") == DATA
        (tmp_path / "file.bin").unlink()
    assert server.asked == ["bytes=23-", None, f"bytes={len(DATA) + 8}-", None]


def test_a_whole_file_serves_from_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("filelock.FileLock", refuse)
    (tmp_path / "file.bin").write_bytes(DATA)
    assert get("http://127.0.0.1:9/x", target=tmp_path / "file.bin") == DATA


def test_a_file_with_another_checksum_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.data = DATA[:-1] + b"x"
    with pytest.raises(BadInput, match="another file than expected"):
        get(server.url, target=tmp_path / "file.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.bin.lock"]


def test_a_damaged_file_in_the_cache_is_replaced(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(DATA[:1000])
    assert get(server.url, target=target) == DATA


def test_the_next_address_serves_when_one_does_not(server: Server, nowhere: str, tmp_path: Path) -> None:
    assert get(nowhere, server.url, target=tmp_path / "file.bin") == DATA


def test_offline_is_one_line_that_says_what_to_do(nowhere: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        get(nowhere, target=tmp_path / "file.bin")
    message = str(caught.value)
    assert "\n" not in message
    assert "Connection refused" in message
    assert message.endswith("; do this")


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(BadInput, match=r"the cache .*occupied/a cannot be used .* set LOT_CACHE"):
        get("http://127.0.0.1:9/x", target=tmp_path / "occupied" / "a" / "file.bin")


def archive(folder: Path, members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(folder / "made.zip", "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return (folder / "made.zip").read_bytes()


def test_members_of_an_archive_are_taken_out_once(server: Server, tmp_path: Path, cache: Path) -> None:
    server.data = archive(tmp_path, {"deep/a.txt": b"one", "deep/b.txt": b"two", "c.txt": b"unwanted"})
    corpus = Corpus(
        name="sample",
        title="Sample",
        license="none",
        urls=(server.url,),
        sha256=hashlib.sha256(server.data).hexdigest(),
        members=("deep/a.txt", "deep/b.txt"),
    )
    files = corpus.files()
    assert [file.read_bytes() for file in files] == [b"one", b"two"]
    written = [file.stat().st_mtime_ns for file in corpus.files()]
    assert written == [file.stat().st_mtime_ns for file in files]
    files[0].write_bytes(b"on")  # cut short
    assert corpus.files()[0].read_bytes() == b"one"
    assert sorted(path.name for path in (cache / "corpora" / "sample").iterdir()) == [
        "a.txt",
        "b.txt",
        "file.bin",
        "file.bin.lock",
    ]


def test_a_corpus_names_the_place_for_a_file_of_ones_own(nowhere: str, cache: Path) -> None:
    corpus = Corpus(name="sample", title="Sample", license="none", urls=(nowhere,), sha256=SHA256)
    with pytest.raises(BadInput) as caught:
        corpus.files()
    assert f"put the file at {cache / 'corpora' / 'sample' / 'file.bin'}" in str(caught.value)
    assert "path=" in str(caught.value)


def test_registered_corpora_are_complete() -> None:
    for name, corpus in CORPORA.items():
        assert name == corpus.name
        assert len(bytes.fromhex(corpus.sha256)) == 32
        assert len({url.rsplit("/", 1)[1] for url in corpus.urls}) == 1  # one file at several addresses
        assert len(corpus.members) in (0, 1, 3)
        assert corpus.license
