"""A Hugging Face Hub of one repository, or a few, on this machine, with faults on demand.

It answers what huggingface_hub 2.4 asks of the Hub for `model_info` and `hf_hub_download`:

    GET       /api/models/{repo}/revision/{revision}?blobs=true   names, sizes and hashes
    HEAD, GET /{repo}/resolve/{revision}/{name}                   one file, or a range of it
    GET       /xet-token                                          where Xet's store is (see `xet`)

and with `kind="datasets"` what datasets 5.2 asks in addition, where /api/datasets/ stands for
/api/models/ and /datasets/{repo}/ for /{repo}/:

    GET       /api/datasets/{repo}/auth-check                     whether its files are for all
    GET       /api/datasets/{repo}/tree/{revision}/{folder}       what is in a folder
"""

import hashlib
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

LARGE = (".safetensors", ".bin", ".model")  # kept in LFS, so known by SHA-256


class Request(NamedTuple):
    method: str
    path: str
    range: str | None


def blob_hash(content: bytes) -> str:
    """Return the name git gives to a file with that content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class HubServer:
    """Serve `files` as `repo` at `revision` while the `with` block runs.

    `kind` is the Hub's word for such repositories, "models" or "datasets". `fault` plans what goes
    wrong. `requests` lists what was asked. With `refuse = (status, code)` every answer is that
    refusal, with `gate` every answer but the list of files. With `hashes = False` the list has no
    hashes. With `xet = True` large files are offered by Xet's protocol, from a store that has
    nothing. The repositories of the servers in `beside` are served here as well.
    """

    def __init__(
        self, files: dict[str, bytes], revision: str, repo: str, kind: str = "models"
    ) -> None:
        self.files = files
        self.revision = revision
        self.repo = repo
        self.api = f"/api/{kind}/{repo}"
        self.resolve = f"{'' if kind == 'models' else f'/{kind}'}/{repo}/resolve/{revision}/"
        self.requests: list[Request] = []
        self.refuse: tuple[int, str] | None = None
        self.gate: tuple[int, str] | None = None
        self.hashes = True
        self.xet = False
        self.beside: list[HubServer] = []
        self._faults: dict[tuple[str, str], tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def fault(self, name: str, kind: str, *, method: str = "GET", times: float = 1) -> None:
        """Let the next `times` answers about file `name` ("" is the list of files) go wrong.

        Kinds: `drop` (close half-way), `reset` (the same, rudely), `corrupt` (other bytes, same
        number), or a status such as `503`.
        """
        self._faults[method, name] = (kind, times)

    def holding(self, path: str) -> "HubServer":
        """Return the server that has the repository of a path."""
        places = ((hub, (f"{hub.api}/", hub.resolve)) for hub in self.beside)
        return next((hub for hub, place in places if path.startswith(place)), self)

    def next_fault(self, method: str, name: str) -> str | None:
        with self._lock:
            kind, left = self._faults.get((method, name), (None, 0))
            if left:
                self._faults[method, name] = (kind, left - 1)
            return kind if left else None

    def asked(self, method: str, name: str) -> list[Request]:
        """Return the requests of that method for file `name`."""
        path = self.resolve + name
        return [ask for ask in self.requests if (ask.method, ask.path) == (method, path)]

    def listing(self) -> dict:
        """Return what the Hub says of the repository when asked with `blobs=true`."""
        siblings = []
        for name, content in self.files.items():
            entry = {"rfilename": name, "size": len(content)}
            if self.hashes:
                entry["blobId"] = blob_hash(content)
            if self.hashes and name.endswith(LARGE):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        return {"id": self.repo, "modelId": self.repo, "sha": self.revision, "siblings": siblings}

    def tree(self, folder: str) -> list[dict]:
        """Return what the Hub says of the files and folders in `folder`."""
        found = {}
        for name, content in self.files.items():
            inner = name.removeprefix(folder)
            if name.startswith(folder) and "/" in inner:
                path = folder + inner.split("/")[0]
                found[path] = {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
            elif name.startswith(folder):
                entry = {"type": "file", "path": name, "oid": blob_hash(content)}
                found[name] = {**entry, "size": len(content)}
        return list(found.values())

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._http.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._http.shutdown()
        self._http.server_close()


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/api/agent-harnesses":  # for huggingface_hub's User-Agent, now and then
                self._refuse(404, "")
                return
            hub = server.holding(path)
            hub.requests.append(Request(self.command, self.path, self.headers.get("Range")))
            api, tree = f"{hub.api}/revision/", f"{hub.api}/tree/{hub.revision}"
            files = hub.resolve
            if hub.refuse:
                self._refuse(*hub.refuse)
            elif hub.gate and not path.startswith(api):
                self._refuse(*hub.gate)
            elif path == f"{hub.api}/auth-check":
                self._send(200, {}, b"")
            elif path.startswith(tree):
                folder = f"{path.removeprefix(tree)}/".removeprefix("/")
                content = json.dumps(hub.tree(folder)).encode()
                self._send(200, {"Content-Type": "application/json"}, content)
            elif path == "/xet-token":
                store = {"Cas-Url": hub.url, "Access-Token": "t", "Token-Expiration": "9999999999"}
                self._send(200, {f"X-Xet-{key}": value for key, value in store.items()}, b"")
            elif path.startswith(api) and path != api + hub.revision:
                self._refuse(404, "RevisionNotFound")
            elif path.startswith(api):
                fault = hub.next_fault(self.command, "")
                content = json.dumps(hub.listing()).encode()
                self._send(200, {"Content-Type": "application/json"}, content, fault)
            elif path.startswith(files) and (name := path.removeprefix(files)) in hub.files:
                self._file(hub, name)
            else:
                self._refuse(404, "EntryNotFound" if path.startswith(files) else "RepoNotFound")

        do_HEAD = do_GET

        def _file(self, hub: HubServer, name: str) -> None:
            content = hub.files[name]
            headers = {"X-Repo-Commit": hub.revision, "ETag": f'"{blob_hash(content)}"'}
            if name.endswith(LARGE):
                headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
                headers["X-Linked-Size"] = str(len(content))
                if hub.xet:
                    headers["X-Xet-Hash"] = "a" * 64
                    headers["X-Xet-Refresh-Route"] = f"{hub.url}/xet-token"
            fault = hub.next_fault(self.command, name)
            if fault == "corrupt":
                content = content[:-1] + bytes([content[-1] ^ 1])
            if asked := self.headers.get("Range"):
                start = int(asked.removeprefix("bytes=").split("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self._send(206, headers, content[start:], fault)
            else:
                self._send(200, {**headers, "Accept-Ranges": "bytes"}, content, fault)

        def _refuse(self, status: int, code: str) -> None:
            self._send(status, {"X-Error-Code": code, "X-Error-Message": "refused"}, b"")

        def _send(self, status: int, headers: dict, content: bytes, fault: str | None = None):
            if fault and fault.isdigit():
                status, headers, content = int(fault), {}, b""
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault not in ("drop", "reset"):
                self.wfile.write(content)
                return
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            if fault == "reset":  # lingering for no time makes close() send RST
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

        def log_message(self, *_) -> None:
            pass

    return Handler
