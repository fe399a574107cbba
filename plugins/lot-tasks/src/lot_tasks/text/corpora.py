"""The corpora that can be named instead of a path: where they are, how they are verified, who allows their use."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import attrs

from lot import BadInput, cache_folder
from lot_tasks.text.download import fetch


@attrs.frozen(kw_only=True)
class Corpus:
    """A corpus on the network.

    urls: addresses of the same file, tried in order. sha256: checksum of that file.
    members: files to take out of a zip archive: one, which is then divided, or the training, validation and test
    texts. Empty: the download is the text.
    """

    name: str
    title: str
    license: str
    urls: tuple[str, ...]
    sha256: str
    members: tuple[str, ...] = ()

    def files(self) -> tuple[Path, ...]:
        """The text files in the cache, downloaded first where they are not there. Raises BadInput where that fails."""
        folder = cache_folder() / "corpora" / self.name
        target = folder / self.urls[0].rsplit("/", 1)[1]
        fix = f"connect to the network, put the file at {target}, or name a text file of your own with path="
        fetch(self.urls, target, sha256=self.sha256, name=self.title, fix=fix)
        if not self.members:
            return (target,)
        return tuple(_extract(target, member) for member in self.members)


def _extract(archive: Path, member: str) -> Path:
    """The member of a verified archive as a file beside it; zipfile checks its CRC on the way."""
    path = archive.parent / Path(member).name
    try:
        with zipfile.ZipFile(archive) as opened:
            if path.exists() and path.stat().st_size == opened.getinfo(member).file_size:
                return path
            handle, temporary = tempfile.mkstemp(dir=archive.parent, prefix=f".{path.name}-")
            try:
                with os.fdopen(handle, "wb") as file, opened.open(member) as source:
                    shutil.copyfileobj(source, file)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written ({error.strerror or error})",
            fix="set LOT_CACHE to a folder that can be written and has room",
        ) from error
    return path


SHAKESPEARE = Corpus(
    name="shakespeare",
    title="tinyshakespeare",
    license="public domain (plays of William Shakespeare, collected by A. Karpathy for char-rnn)",
    urls=("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)

WIKITEXT2 = Corpus(
    name="wikitext2",
    title="WikiText-2",
    license="CC BY-SA 3.0 (Merity et al., Pointer Sentinel Mixture Models, 2016; text of Wikipedia)",
    urls=(
        "https://wikitext.smerity.com/wikitext-2-v1.zip",
        "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
    ),
    sha256="92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
    members=("wikitext-2/wiki.train.tokens", "wikitext-2/wiki.valid.tokens", "wikitext-2/wiki.test.tokens"),
)

ENWIK8 = Corpus(
    name="enwik8",
    title="enwik8",
    license="CC BY-SA 3.0 and GFDL (first 10^8 bytes of the English Wikipedia of 3 March 2006, M. Mahoney)",
    urls=("https://mattmahoney.net/dc/enwik8.zip", "http://mattmahoney.net/dc/enwik8.zip"),
    sha256="547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
    members=("enwik8",),
)

CORPORA = {corpus.name: corpus for corpus in (SHAKESPEARE, WIKITEXT2, ENWIK8)}
"""Corpora by the name that the option `corpus` takes; `pydoc` needs no entry, it comes with Python."""
