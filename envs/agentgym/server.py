"""A session on one of AgentGym's environment servers.

Each server has /create, /reset and /step (most also /observation and /close), but the fields have
different names: `id` or `env_idx` for the session, `data_idx`, `game`, `session_id`, `item_id` or
`seed` for the task. The servers publish their schemas in /openapi.json, and the names are read
there.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from contrail import ConfigError, ContrailError

SESSION_NAMES = ("id", "env_idx")
TASK_NAMES = ("data_idx", "session_id", "item_id", "game", "seed", "idx", "id")
TEXT_NAMES = ("observation", "state")
SHOWN = 300  # characters of a server's answer in a message


@dataclass(frozen=True)
class Route:
    """What the server's schema says of one path."""

    fields: Mapping[str, str | None]
    """The type of each field, None where the schema does not say."""
    required: Sequence[str]


class Server:
    """One session, over one connection.

    Args:
        url: the address, with the path under which the environment's routes are, if it has one.
        task_field: the field of /reset that takes the task's number; "" to find it.
        constants: further fields of /create and /reset.
        timeout: the number of seconds to wait for an answer.

    Raises:
        ContrailError: no server answers, or it is none of AgentGym's.
    """

    _holders: ClassVar[weakref.WeakValueDictionary[tuple[str, Any], Server]] = (
        weakref.WeakValueDictionary()
    )
    # A server that was restarted counts its sessions from 0 again. Whoever held a number before
    # must not go on with it, since it is another's game now.

    def __init__(
        self, url: str, task_field: str, constants: Mapping[str, Any], timeout: float
    ) -> None:
        import httpx

        self.url = url.rstrip("/")
        self._constants = constants
        self._timeout = timeout
        # uvicorn closes a connection that is idle for 5 s.
        limits = httpx.Limits(keepalive_expiry=2.0)
        self._client = httpx.Client(timeout=timeout, limits=limits)
        self._session: Any = None
        try:
            self._routes = self._schema()
            step, reset = self._fields("/step"), self._fields("/reset")
            self._session_field = self._find_session_field(step)
            self._task_field = task_field or self._find_task_field(reset)
            self._check_reset(reset)
        except ContrailError:
            self._client.close()
            raise

    def reset(self, task: int) -> tuple[Any, str]:
        """Begin a task. Return the answer and the observation's text."""
        if self._session is None:
            self._create()
        fields = {self._task_field: task, **self._given(self._fields("/reset"))}
        answer = self._post("/reset", {self._session_field: self._session, **fields})
        if (error := error_in(answer)) and not self._alive():
            # The session is of a server that has been restarted since.
            self._create()
            answer = self._post("/reset", {self._session_field: self._session, **fields})
            error = error_in(answer)
        if error:
            raise ContrailError(
                f"agentgym: {self.url} refuses task {task}: {error}. If it has fewer tasks, lower "
                "`train_tasks` and `test_tasks`, or name the tasks in `train_indices` and "
                "`test_indices`."
            )
        text = text_in(answer)
        if text is None or self._is_bare(answer):  # WebShop's reset answers with another page
            text = text_in(self._get("/observation"))
        if text is None:
            raise ContrailError(f"agentgym: {self.url}/reset shows no observation: {_cut(answer)}")
        task_text = answer.get("task_description") if isinstance(answer, Mapping) else None
        return answer, f"{task_text}\n{text}" if task_text else text

    def step(self, action: str) -> tuple[Mapping[str, Any], str, bool]:
        """Carry out an action.

        Returns:
            The answer, the observation's text, and whether the server took the action.
        """
        self._need_session()
        answer = self._post("/step", {self._session_field: self._session, "action": action})
        if error := error_in(answer):
            if not self._alive():
                self._lose()
                self._need_session()
            return {}, error, False
        text = text_in(answer)
        if text is None or not isinstance(answer, Mapping):
            raise ContrailError(f"agentgym: {self.url}/step shows no observation: {_cut(answer)}")
        return answer, text, True

    def close(self) -> None:
        """End the session, if the server is there and ends sessions."""
        import httpx

        if self._session is not None and (not self._routes or "/close" in self._routes):
            body = {self._session_field: self._session}
            with contextlib.suppress(httpx.HTTPError):  # the server is gone, and its sessions
                self._client.post(f"{self.url}/close", json=body)
        self._lose()
        self._client.close()

    def _create(self) -> None:
        self._lose()
        created = self._fields("/create")
        zeros = {
            name: 0 for name in created.required if created.fields[name] == "integer"
        }  # a task to create it with, which the reset replaces
        answer = self._post("/create", {**zeros, **self._given(created)})
        names = [self._session_field, *SESSION_NAMES]
        session = answer
        if isinstance(answer, Mapping):
            session = next((answer[name] for name in names if name in answer), None)
        if type(session) is not int:
            raise ContrailError(f"agentgym: {self.url}/create gives no session: {_cut(answer)}")
        before = self._holders.get((self.url, session))
        if before is not None:
            before._lose()
        self._holders[self.url, session] = self
        self._session = session

    def _lose(self) -> None:
        if self._holders.get((self.url, self._session)) is self:
            del self._holders[self.url, self._session]
        self._session = None

    def _need_session(self) -> None:
        if self._session is None:
            raise ContrailError(
                f"agentgym: the episode's session at {self.url} is gone: the server was restarted, "
                "or has fewer sessions than there are episodes at a time. Later episodes open new "
                "ones; if it happens again, look at the server's log."
            )

    def _alive(self) -> bool:
        """Whether the server still knows the session."""
        if self._routes and "/observation" not in self._routes:
            return True
        return error_in(self._get("/observation")) is None

    def _get(self, path: str) -> Any:
        return self._ask("GET", path, params={self._session_field: self._session})

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        """Return the server's answer.

        Raises:
            ContrailError: there is none, or it is an error; the message says what may help.
        """
        import httpx

        try:
            answer = self._client.request(method, self.url + path, **content)
        except httpx.TimeoutException as error:
            raise ContrailError(
                f"agentgym: {self.url}{path} has not answered within {self._timeout:g} s. If it is "
                "slow, raise `timeout`."
            ) from error
        except httpx.HTTPError as error:
            raise ContrailError(
                f"agentgym: no server answers at {self.url}: {_cut(error)}. Start it (again), or "
                "correct `url`."
            ) from error
        if answer.status_code == 422:
            raise ContrailError(
                f"agentgym: {self.url}{path} wants other fields: {_cut(answer.text)}. Name the "
                "task's field in `index`, and give the others in `constants`."
            )
        if answer.is_error:
            raise ContrailError(
                f"agentgym: {self.url}{path} answers {answer.status_code}: {_cut(answer.text)}. "
                "The server's own log says why."
            )
        try:
            return answer.json()
        except ValueError as error:
            raise ContrailError(
                f"agentgym: {self.url}{path} answers with something else than JSON: "
                f"{_cut(answer.text)}. Is it a server of AgentGym?"
            ) from error

    def _schema(self) -> dict[str, Route]:
        """Return the routes that the server publishes; none if it publishes no schema."""
        import httpx

        split = urlsplit(self.url)
        for base, prefix in ((self.url, ""), (f"{split.scheme}://{split.netloc}", split.path)):
            try:
                answer = self._client.get(f"{base}/openapi.json")
            except httpx.HTTPError as error:
                raise ContrailError(
                    f"agentgym: no server answers at {self.url}: {_cut(error)}. Start it (again), "
                    "or correct `url`."
                ) from error
            if answer.is_success:
                return self._read_schema(answer.json(), prefix)
        return {}

    def _read_schema(self, schema: Mapping[str, Any], prefix: str) -> dict[str, Route]:
        paths = schema.get("paths", {})
        models = schema.get("components", {}).get("schemas", {})
        routes = {}
        for path, methods in paths.items():
            if not path.startswith(f"{prefix}/"):
                continue
            content = methods.get("post", {}).get("requestBody", {}).get("content", {})
            model = content.get("application/json", {}).get("schema", {})
            model = models.get(model.get("$ref", "").rpartition("/")[2], model)
            types = {name: _type(field) for name, field in model.get("properties", {}).items()}
            routes[path.removeprefix(prefix)] = Route(types, model.get("required", ()))
        missing = [path for path in ("/create", "/reset", "/step") if path not in routes]
        if missing:
            parents = sorted({path.rpartition("/step")[0] for path in paths if "/step" in path})
            under = ", ".join(parent for parent in parents if parent)
            hint = (
                f"It has environments under {under}: add one to `url`."
                if under
                else ("Is it a server of AgentGym?")
            )
            raise ConfigError(f"agentgym: {self.url} has no {' and no '.join(missing)}. {hint}")
        return routes

    def _fields(self, path: str) -> Route:
        return self._routes.get(path, Route({}, ()))

    def _given(self, route: Route) -> dict[str, Any]:
        """The constants that a route takes."""
        known = route.fields or self._constants
        return {name: value for name, value in self._constants.items() if name in known}

    def _find_session_field(self, step: Route) -> str:
        if not step.fields:
            return "env_idx"  # WebArena's, the one that has no schema
        named = [name for name in SESSION_NAMES if name in step.fields]
        numbers = [name for name, kind in step.fields.items() if kind == "integer"]
        if "action" not in step.fields or not (named or numbers):
            raise ConfigError(
                f"agentgym: {self.url}/step takes {', '.join(step.fields)}; the servers of "
                "AgentGym take a session's number and an `action`."
            )
        return (named or numbers)[0]

    def _find_task_field(self, reset: Route) -> str:
        if not reset.fields:
            return "idx"
        others = [name for name in reset.fields if name != self._session_field]
        named = [name for name in TASK_NAMES if name in others]
        numbers = [name for name in others if reset.fields[name] == "integer"]
        if not (named or numbers):
            raise ConfigError(
                f"agentgym: {self.url}/reset takes {', '.join(reset.fields)}: name the one for the "
                "task's number in the key `index`."
            )
        return (named or numbers)[0]

    def _check_reset(self, reset: Route) -> None:
        """Refuse names that /reset does not know, and what it needs and does not get."""
        names = {**reset.fields, **self._fields("/create").fields}
        for name in (self._task_field, *self._constants):
            if names and name not in names:
                raise ConfigError(
                    f"agentgym: {self.url} knows no {name!r}. It has {', '.join(names)}."
                )
        known = {self._session_field, self._task_field, *self._constants}
        lacking = [name for name in reset.required if name not in known]
        if lacking:
            raise ConfigError(
                f"agentgym: {self.url}/reset also needs {', '.join(lacking)}: give it in the key "
                f"`constants`, for example {{constants: {{{lacking[0]}: ...}}}}."
            )

    @staticmethod
    def _is_bare(answer: Any) -> bool:
        return isinstance(answer, list)


def text_in(answer: Any) -> str | None:
    """Return the text of an observation: itself, or a field's, or a pair's first; None if none."""
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if isinstance(answer, Mapping):
        answer = next((answer[name] for name in TEXT_NAMES if name in answer), None)
    return answer if isinstance(answer, str) else None


def error_in(answer: Any) -> str | None:
    """Return what a server says is wrong: AgentGym's say so in a field of an ordinary answer."""
    if isinstance(answer, Mapping) and "error" in answer and text_in(answer) is None:
        return _cut(answer["error"]) or "an error without words"
    return None


def _type(field: Mapping[str, Any]) -> str | None:
    kinds = [field, *field.get("anyOf", ())]
    return next((kind["type"] for kind in kinds if kind.get("type") not in (None, "null")), None)


def _cut(value: object) -> str:
    return " ".join(str(value).split())[:SHOWN].rstrip(".")
