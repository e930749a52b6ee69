"""Starts a company (one process or several) on a tiny checkpoint, talks HTTP to it, and puts load on it.

The checkpoint is T0 of tests/golden (random weights, so answers are gibberish) with the demo model's tokenizer; on a GPU
(TROUPE_DEVICE=cuda), whose kernels do not have T0's shape, it is the demo model. Several roles may share one GPU.
Prompts are token ids. Standard library only.
"""

import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TROUPE = os.environ.get("TROUPE", str(ROOT / "build/dev/bin/troupe"))
DEVICE = os.environ.get("TROUPE_DEVICE", "cpu")
START_TIMEOUT_S = 30
if DEVICE != "cpu" and not os.path.exists("/dev/nvidiactl"):
    print("skipped: no NVIDIA driver")
    sys.exit(77)
os.environ.setdefault("TROUPE_CLUSTER_SECRET", secrets.token_hex(16))  # not the person's who runs the tests


def make_checkpoint(folder, weights=True):
    """`weights`: else config and tokenizer alone."""
    demo = ROOT / "examples/demo_model"
    model = ROOT / "tests/golden/t0" if DEVICE == "cpu" else demo
    for source in [model / "config.json", *(model.glob("model*.safetensors*") if weights else ()),
                   demo / "tokenizer.json", demo / "tokenizer_config.json"]:
        shutil.copy(source, folder)


def prompt_of(number):
    """A request that always has the same answer; greedy and sampling, short and long prompts."""
    tokens = [3 + (number * 31 + i * 7) % 90 for i in range(1 + number % 23)]
    return {"model": "tiny", "prompt": tokens, "max_tokens": 90, "seed": number, "temperature": number % 2,
            "logprobs": 1, "ignore_eos": True}


class Company:
    """Use as a context manager. Without expert_shards it is one process (serve), else several (launch)."""

    def __init__(self, expert_shards=2, kv_caches=1, model=None, flags=()):
        """`model`: a checkpoint's folder instead of the tiny one; `flags`: more words of the command."""
        self.expert_shards, self.kv_caches, self.model, self.flags = expert_shards, kv_caches, model, flags

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="troupe-cluster-")
        model = self.model or pathlib.Path(self.folder.name) / "tiny"
        if not self.model:
            model.mkdir()
            make_checkpoint(model)
        if self.expert_shards:
            recipe = pathlib.Path(self.folder.name) / "recipe.yaml"
            recipe.write_text(f"model: {model}\nport: 0\nserving: {{threads: 1, device: {DEVICE}}}\n"
                              f"roles: {{kv_cache: {self.kv_caches}, expert_shard: {self.expert_shards}}}\n")
            command = [TROUPE, "launch", str(recipe)]
        else:
            command = [TROUPE, "serve", str(model), "--port", "0", "--threads", "1", "--device", DEVICE]
        command += self.flags
        self.log_path = pathlib.Path(self.folder.name) / "log"
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        self.port = int(self.wait_for(lambda: re.search(r"listening on http://[^:]*:(\d+)", self.log()))[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.wait_for(lambda: self.get("/ready")[0] == 200)
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind:
            print(self.log())
        self.folder.cleanup()

    def wait_for(self, condition):
        """Polls, since what is waited for is in other processes; fails when the company has ended or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if found := condition():
                return found
            assert self.process.poll() is None, "the company has ended:\n" + self.log()
            time.sleep(0.01)
        raise AssertionError("not in time:\n" + self.log())

    def log(self):
        return self.log_path.read_text()

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "null")
        finally:
            connection.close()

    def get(self, path):
        return self.call("GET", path)

    def roles(self):
        return {role["name"]: role for role in self.get("/status")[1]["roles"]}

    def complete(self, number):
        """(status, what a client can see of the answer)."""
        status, body = self.call("POST", "/v1/completions", prompt_of(number))
        return status, body["choices"] if status == 200 else body

    def kill(self, name, how):
        os.kill(self.roles()[name]["pid"], how)

    def wait_replaced(self, name, restarts=1):
        self.wait_for(lambda: self.get("/ready")[0] == 200 and self.roles()[name]["restarts"] == restarts)

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


class Load:
    """Clients that ask one request after the other until told to stop; every answer is kept."""

    def __init__(self, company, clients=8):
        self.company, self.answers, self.running = company, [], True
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.ask, args=(n, clients)) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, number, step):
        while self.running:
            try:
                answer = (number, *self.company.complete(number))
            except OSError as error:
                answer = (number, 0, str(error))
            with self.lock:
                self.answers.append(answer)
            if answer[1] != 200:
                return
            number = (number + step) % 40

    def wait_for_answers(self, count):
        self.company.wait_for(lambda: len(self.answers) >= count)

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join()
        return self.answers


def expected_answers():
    """What one process says to each of the 40 requests, one at a time."""
    with Company(expert_shards=0) as alone:
        answers = [alone.complete(number) for number in range(40)]
        assert all(status == 200 for status, _ in answers), answers
        assert alone.stop() == 0
    return [choices for _, choices in answers]
