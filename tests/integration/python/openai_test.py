#!/usr/bin/env python3
"""The official OpenAI client against a server: openai_test.py SERVER [ARGUMENT...] starts it, or uses $TROUPE_URL.

Nothing here knows what the model says, only how an answer has to look, so that the same test runs against the fake
cluster of test_server and against `troupe serve`.
"""
import asyncio
import os
import re
import secrets
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

import openai

QUESTION = [{"role": "user", "content": "hello"}]
url = os.environ.get("TROUPE_URL", "")
os.environ.setdefault("TROUPE_CLUSTER_SECRET", secrets.token_hex(16))  # not the person's who runs the tests


def get(path):
    with urllib.request.urlopen(url + path) as answer:
        return answer.read().decode()


def aborted():
    found = re.search(r'^troupe_request_success_total\{[^}]*finished_reason="abort"[^}]*\} (\S+)', get("/metrics"), re.M)
    return float(found.group(1)) if found else 0


class OpenAiClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
        cls.model = cls.client.models.list().data[0].id

    def chat(self, **more):
        fields = {"model": self.model, "messages": QUESTION, "seed": 1, "temperature": 0, "max_tokens": 60, **more}
        return self.client.chat.completions.create(**fields)

    def test_models_are_listed_and_found(self):
        self.assertEqual(self.client.models.retrieve(self.model).id, self.model)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("another")

    def test_an_answer_has_reasoning_content_and_usage(self):
        answer = self.chat()
        choice = answer.choices[0]
        self.assertEqual(choice.message.role, "assistant")
        self.assertTrue(choice.message.reasoning_content or choice.message.content)
        self.assertIn(choice.finish_reason, ("stop", "length"))
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertLessEqual(usage.completion_tokens_details.reasoning_tokens, usage.completion_tokens)

    def test_a_stream_gives_the_same_answer(self):
        whole = self.chat()
        reasoning, content, finish, usage, ids = "", "", [], None, set()
        for chunk in self.chat(stream=True, stream_options={"include_usage": True}):
            ids.add(chunk.id)
            usage = chunk.usage or usage
            for choice in chunk.choices:
                thought = getattr(choice.delta, "reasoning_content", None) or ""
                self.assertFalse(thought and choice.delta.content)
                reasoning += thought
                content += choice.delta.content or ""
                finish += [choice.finish_reason] if choice.finish_reason else []
        message = whole.choices[0].message
        self.assertEqual((reasoning, content), (message.reasoning_content or "", message.content or ""))
        self.assertEqual(finish, [whole.choices[0].finish_reason])
        self.assertEqual(usage, whole.usage)
        self.assertEqual(len(ids), 1)

    def test_n_choices_have_their_indices(self):
        self.assertEqual([c.index for c in self.chat(n=3, temperature=1).choices], [0, 1, 2])
        seen = {c.index for chunk in self.chat(n=3, stream=True) for c in chunk.choices}
        self.assertEqual(seen, {0, 1, 2})

    def test_an_answer_ends_before_a_stop_string(self):
        message = self.chat().choices[0].message
        text = message.content or message.reasoning_content
        stop = text[len(text) // 2 :][:3]
        choice = self.chat(stop=[stop]).choices[0]
        self.assertEqual(choice.finish_reason, "stop")
        self.assertNotIn(stop, (choice.message.content or "") + (choice.message.reasoning_content or ""))

    def test_log_probabilities_come_with_alternatives(self):
        content = self.chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
        self.assertTrue(content)
        for token in content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), 2)
            self.assertGreaterEqual(token.top_logprobs[0].logprob, token.top_logprobs[1].logprob)

    def test_completions_echo_their_prompts(self):
        answer = self.client.completions.create(
            model=self.model, prompt=["one", "two"], max_tokens=0, echo=True, logprobs=1, temperature=0
        )
        self.assertEqual([c.text for c in answer.choices], ["one", "two"])
        for choice in answer.choices:
            self.assertIsNone(choice.logprobs.token_logprobs[0])
            self.assertTrue(all(x <= 0 for x in choice.logprobs.token_logprobs[1:]))
        tokens = self.client.completions.create(model=self.model, prompt=[65, 66, 67], max_tokens=2, temperature=0)
        self.assertEqual(tokens.usage.prompt_tokens, 3)
        text = "".join(
            chunk.choices[0].text
            for chunk in self.client.completions.create(
                model=self.model, prompt=[65, 66, 67], max_tokens=2, temperature=0, stream=True
            )
        )
        self.assertEqual(text, tokens.choices[0].text)

    def test_errors_are_the_clients_own_classes(self):
        with self.assertRaises(openai.NotFoundError) as missing:
            self.chat(model="another")
        self.assertEqual(missing.exception.code, "model_not_found")
        with self.assertRaises(openai.BadRequestError) as wrong:
            self.chat(temperature=9)
        self.assertEqual(wrong.exception.param, "temperature")
        with self.assertRaises(openai.BadRequestError):
            self.chat(stream=True, messages=[])
        with self.assertRaises(openai.BadRequestError) as long:
            self.chat(messages=[{"role": "user", "content": "word " * 200_000}])
        self.assertEqual(long.exception.code, "context_length_exceeded")
        with self.assertRaises(urllib.error.HTTPError) as lost:
            get("/nothing")
        self.assertEqual(lost.exception.code, 404)

    def test_a_cancelled_stream_frees_its_request(self):
        before = aborted()

        async def ask_and_leave():
            client = openai.AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
            stream = await client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": "wait"}],
                stream=True,
                extra_body={"ignore_eos": True},
            )
            async for _ in stream:
                break
            await stream.close()
            waiting = asyncio.create_task(
                client.chat.completions.create(
                    model=self.model,
                    messages=[{"role": "user", "content": "wait"}],
                    extra_body={"ignore_eos": True},
                )
            )
            await asyncio.sleep(0.1)
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            await client.close()

        asyncio.run(ask_and_leave())
        deadline = time.monotonic() + 20
        while aborted() < before + 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertGreaterEqual(aborted(), before + 2)

    def test_many_clients_at_once_each_get_their_answer(self):
        async def ask_all():
            async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as client:
                return await asyncio.gather(
                    *(
                        client.chat.completions.create(
                            model=self.model, messages=QUESTION, temperature=0, max_tokens=20
                        )
                        for _ in range(16)
                    )
                )

        answers = asyncio.run(ask_all())
        self.assertEqual(len({(a.choices[0].message.reasoning_content, a.choices[0].message.content) for a in answers}), 1)
        self.assertEqual(len({a.id for a in answers}), 16)


def start(command):
    """The server's process and address, once it is ready."""
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        sys.stderr.write(line)
        if found := re.search(r"listening on (http://\S+)", line):
            break
    else:
        sys.exit("the server has ended")
    address = found.group(1)
    for _ in range(600):
        try:
            urllib.request.urlopen(address + "/ready")
            return server, address
        except urllib.error.HTTPError:
            time.sleep(0.1)
    sys.exit("the server does not become ready")


if __name__ == "__main__":
    server = None
    if len(sys.argv) > 1:
        server, url = start(sys.argv[1:])
    try:
        passed = unittest.main(argv=sys.argv[:1], exit=False, verbosity=2, warnings="ignore").result.wasSuccessful()
    finally:
        if server:
            server.stdin.close()
            server.terminate()
            server.wait(30)
    sys.exit(not passed)
