"""A small server that speaks as AgentGym's do, on loopback: find a number from 1 to 5.

It is started in a thread of the test; `restart` forgets its sessions.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NUMBERS = [str(number) for number in range(1, 6)]


def _body(**fields: str) -> dict[str, Any]:
    properties = {name: {"type": kind} for name, kind in fields.items()}
    schema = {"properties": properties, "required": list(fields)}
    return {"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}}}


class AgentGymServer:
    """A server of 40 tasks; its url is `url`."""

    def __init__(self) -> None:
        self.games: dict[int, dict[str, Any]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                if self.path == "/openapi.json":
                    return self.answer(outer.schema())
                if not self.path.startswith("/observation?"):
                    return self.answer((404, {"detail": "Not Found"}))
                number = int(self.path.rpartition("=")[2])
                game = outer.games.get(number)
                return self.answer(game["seen"] if game else {"error": f"The id {number} ..."})

            def do_POST(self) -> None:
                length = int(self.headers["content-length"] or 0)
                self.answer(outer.post(self.path, json.loads(self.rfile.read(length) or b"{}")))

            def answer(self, value: Any) -> None:
                status, value = value if isinstance(value, tuple) else (200, value)
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def restart(self) -> None:
        self.games = {}

    def schema(self) -> Any:
        return {
            "paths": {
                "/create": _body(),
                "/reset": _body(id="integer", data_idx="integer"),
                "/step": _body(id="integer", action="string"),
                "/close": _body(id="integer"),
                "/observation": {"get": {}},
            }
        }

    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/create":
            number = len(self.games)
            self.games[number] = {"seen": ""}
            return {"id": number}
        if path == "/close":
            return self.games.pop(body["id"], None) is not None
        game = self.games.get(body["id"])
        if game is None:
            return {"error": f"The id {body['id']} is not valid."}
        if path == "/reset":
            task = body["data_idx"]
            if task >= 40:
                return {"error": "list index out of range"}
            self.games[body["id"]] = {"task": task, "seen": f"Find my number. Task {task}."}
            return {"observation": self._shown(body["id"]), "reward": 0, "done": False}
        if body["action"] == "crash":
            return 500, {"detail": "Internal Server Error"}
        if body["action"] not in NUMBERS:
            return {"error": "no number"}
        won = int(body["action"]) == game["task"] * 7 % 5 + 1
        game["seen"] = "Right." if won else f"Not {body['action']}."
        return {"observation": self._shown(body["id"]), "reward": float(won), "done": won}

    def _shown(self, number: int) -> str:
        return f"{self.games[number]['seen']}\nAvailable actions: {json.dumps(NUMBERS)}"
