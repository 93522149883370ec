"""A server process for trials that goes wrong in one way: `faulty_server.py HOW SETTINGS`. It knows golden rows."""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

print("words in the log", file=sys.stderr, flush=True)  # before anything that takes time

import numpy as np  # noqa: E402

how, settings = sys.argv[1], json.loads(sys.argv[2])
((model, pointer),) = settings["pinned"].items()
golden = Path(settings["root"]) / "onnx_server" / model / str(pointer["version"]) / "golden"
inputs, outputs = (np.load(golden / side / "0.npy") for side in ("inputs", "outputs"))
asked = 0
ballast = []


def answer(image: np.ndarray) -> np.ndarray:
    found = [int(np.flatnonzero((inputs == row).all(axis=1))[0]) for row in image]
    scores = outputs[found].copy()
    if how == "answers NaN":
        scores[0, 0] = np.nan
    if how == "answers otherwise" or (how == "answers otherwise under load" and asked > 10):
        scores += 0.5
    return scores


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        global asked
        asked += 1
        content = self.rfile.read(int(self.headers["Content-Length"]))
        head_length = int(self.headers["Inference-Header-Content-Length"])
        image = np.frombuffer(content[head_length:], np.float32).reshape(-1, 4)
        if how == "answers nothing":
            time.sleep(600)
        if how == "is slow":
            time.sleep(0.02)
        if how == "eats memory":
            ballast.append(bytearray(os.urandom(1)) * 200_000_000)
            time.sleep(600)
        if how == "dies of a request":
            os._exit(3)
        if how == "refuses":
            self.reply(500, b'{"error": "the model failed"}')
            return
        scores = answer(image)
        tensor = {"name": "scores", "shape": list(scores.shape), "datatype": "FP32"}
        head = json.dumps(
            {"model_name": model, "outputs": [{**tensor, "parameters": {"binary_data_size": scores.nbytes}}]}
        ).encode()
        self.reply(200, head + scores.tobytes(), ("Inference-Header-Content-Length", str(len(head))))

    def reply(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Length", str(len(content))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


if how == "never gets ready":
    time.sleep(600)
if how == "dies at once":
    sys.exit(5)
if how == "says why it cannot":
    print(json.dumps({"error": "version 1 has no weights"}))
    sys.exit(1)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}", "admin": "", "grpc": None, "pid": os.getpid()}))
sys.stdout.flush()
server.serve_forever()
