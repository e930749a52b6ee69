"""Drives processes of net_peer.cpp: what they counted, their memory and their descriptors."""

import json
import os
import pathlib
import queue
import subprocess
import threading

NET_PEER = os.environ.get("NET_PEER", str(pathlib.Path(__file__).resolve().parents[2] / "build/dev/tests/net_peer"))
ENVIRONMENT = dict(os.environ, TROUPE_CLUSTER_SECRET=os.urandom(16).hex(),
                   UCX_LOG_FILE="stderr")  # UCX speaks on stdout otherwise
ANSWER_TIMEOUT_S = 30


class NetPeer:
    """One process. `prefix` is what it is started with, e.g. `ip netns exec NAME`."""

    def __init__(self, *arguments, prefix=(), environment=()):
        self.process = subprocess.Popen([*prefix, NET_PEER, *arguments], stdin=subprocess.PIPE, text=True, bufsize=1,
                                        stdout=subprocess.PIPE, env={**ENVIRONMENT, **dict(environment)})
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.uri = self.lines.get(timeout=ANSWER_TIMEOUT_S)
        assert self.uri, "net_peer did not start"

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put("")

    def tell(self, line):
        assert self.is_running(), f"{self.uri} has ended with status {self.process.poll()}"
        self.process.stdin.write(line + "\n")

    def ping(self, other):
        self.tell("ping " + other.uri)

    def report(self):
        self.tell("report")
        line = self.lines.get(timeout=ANSWER_TIMEOUT_S)
        assert line, f"{self.uri} has ended with status {self.process.wait()}"
        return json.loads(line)

    def is_running(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self):
        """Closes our ends of its pipes."""
        if not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        self.reader.join()
        self.process.stdout.close()

    def leave(self):
        """The exit status."""
        self.process.stdin.close()
        status = self.process.wait(timeout=ANSWER_TIMEOUT_S)
        self.close()
        return status

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))
