"""A browser without a window, driven over two pipes by Chrome's own protocol; no package, no port, no network."""

import fcntl
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

PROGRAM = next(
    (found for name in ("chromium", "google-chrome", "chromium-browser") if (found := shutil.which(name))), None
)
PATIENCE = 60  # seconds for an answer
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--disable-dev-shm-usage")


class Browser:
    """One page of a browser; `close` ends it. events: what it told, in order; dialogs: their kinds."""

    def __init__(self, home: Path) -> None:
        assert PROGRAM is not None
        theirs, self._out = os.pipe()
        self._in, answers = os.pipe()
        high = [fcntl.fcntl(file, fcntl.F_DUPFD, 10) for file in (theirs, answers)]  # out of the way of 3 and 4

        def given() -> None:
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        command = [PROGRAM, *FLAGS, f"--user-data-dir={home}", "about:blank"]
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdin=nothing, stdout=nothing, stderr=nothing, preexec_fn=given, close_fds=False
        )
        for file in (theirs, answers, *high):
            os.close(file)
        self._count, self._held, self.events = 0, b"", list[dict[str, Any]]()
        self._session, self.dialogs = "", list[str]()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **given: Any) -> dict[str, Any]:
        """Call a method and wait for its answer."""
        number = self._send(method, **given)
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def wait(self, event: str) -> dict[str, Any]:
        """The next event of a kind that was not waited for yet."""
        while not (found := [one for one in self.events if one.get("method") == event]):
            self.events.append(self._next())
        self.events.remove(found[0])
        return found[0]["params"]

    def open(self, address: str) -> None:
        """Open a page and wait until it is loaded."""
        self.events.clear()
        self.ask("Page.navigate", url=address)
        self.wait("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press a key and let it go."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            code = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}.get(key, 0)
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def complaints(self) -> list[str]:
        """What the page wrote to its console, and what went wrong in it."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(one) for one in self.events if one.get("method") in kinds]

    def requests(self) -> list[str]:
        """Addresses that were asked for, but for those that hold their own data."""
        sent = [one["params"] for one in self.events if one.get("method") == "Network.requestWillBeSent"]
        return [url for one in sent if not (url := one["request"]["url"]).startswith(("data:", "blob:"))]

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            assert select.select([self._in], [], [], PATIENCE)[0], "the browser does not answer"
            part = os.read(self._in, 2**20)
            assert part, "the browser is gone"
            self._held += part
        line, self._held = self._held.split(b"\0", 1)
        told = json.loads(line)
        if told.get("method") == "Page.javascriptDialogOpening":  # a page that asks whether to leave it
            self.dialogs.append(told["params"]["type"])
            self._send("Page.handleJavaScriptDialog", accept=True)
        return told

    def _send(self, method: str, **given: Any) -> int:
        self._count += 1
        told = {"id": self._count, "method": method, "params": given}
        if self._session:
            told["sessionId"] = self._session
        os.write(self._out, json.dumps(told).encode() + b"\0")
        return self._count
