"""A server that speaks OpenAI's chat protocol as far as a judge is asked by it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deltaedit.judge import Judge


def reply(text):
    return 200, json.dumps({"choices": [{"message": {"content": text}}]})


class Endpoint:
    """A server that gives its replies in turn, the last for ever, and keeps what it was sent."""

    def __init__(self):
        self.replies, self.seen = [reply("yes")], []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.seen.append((self.path, dict(self.headers), body))
                left = endpoint.replies
                status, text = left.pop(0) if len(left) > 1 else left[0]
                if callable(text):
                    text = text(body)
                if status is None:  # hang up
                    self.close_connection = True
                    return
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *args: None  # of one that no longer waits
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def judge(self, **options):
        return Judge(url=self.url, model="m", **{"pause": 0.0, "timeout": 5.0} | options)
