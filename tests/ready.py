"""An interpreter that has imported what is heavy, from which each program gets a process of its own by a fork."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
SERVER = """
import json, os, socket, sys
import scipy.stats, torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextModel, CLIPTokenizer

def asked(link):
    while True:
        told, files, _, _ = socket.recv_fds(link, 2**16, 3)
        if not told:
            sys.exit()
        if (pid := os.fork()) == 0:
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            link.close()
            os.setsid()
            return json.loads(told)
        for file in files:
            os.close(file)
        link.sendall(f"{pid}\\n".encode())
        link.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\\n".encode())

program, folder, sys.argv = asked(socket.socket(fileno=int(sys.argv[1])))
os.chdir(folder)
exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
"""


@dataclass(frozen=True)
class Running:
    """A program's process, in a session and so a group of its own, and its streams."""

    pid: int
    stdin: IO[str]
    stdout: IO[str]
    stderr: IO[str]
    answers: IO[bytes]

    def wait(self) -> int:
        """Its exit code, when it has ended; negative: the signal that ended it."""
        return int(self.answers.readline())


class Ready:
    """Programs run one after the other: `start` asks for a process, which has to be waited for before the next.

    They find torch, diffusers and transformers imported, by a plain interpreter that knows neither pytest nor type
    checks, and nothing of memdetect. What a program imports from nothing is another test's matter.
    """

    def __init__(self) -> None:
        self.link, theirs = socket.socketpair()
        self.answers = self.link.makefile("rb")
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        with theirs:
            self.server = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(theirs.fileno())],
                cwd=ROOT,
                env={**env, "OMP_NUM_THREADS": "1"},  # no threads, which a fork would not have
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(self, program: str, *arguments: str, folder: Path = ROOT) -> Running:
        """Run a program as `python -c` does, in a folder."""
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        told = json.dumps([program, str(folder), ["-c", *arguments]]).encode()
        socket.send_fds(self.link, [told], theirs)
        for file in theirs:
            os.close(file)
        ours = os.fdopen(pipes[0][1], "w"), os.fdopen(pipes[1][0]), os.fdopen(pipes[2][0])
        return Running(int(self.answers.readline()), *ours, self.answers)

    def run(self, program: str, *arguments: str, folder: Path = ROOT) -> str:
        """What a program prints that has to succeed."""
        with (running := self.start(program, *arguments, folder=folder)).stdin, running.stdout, running.stderr:
            running.stdin.close()
            printed = running.stdout.read(), running.stderr.read()
            assert running.wait() == 0, printed[1]
        return printed[0]

    def close(self) -> None:
        """End the interpreter, which nothing keeps when its link is gone."""
        self.answers.close()
        self.link.close()
        self.server.wait()
