"""What a person types: the verbs and the examples, against four processes that serve the demo model."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from company import DEVICE, ROOT, TROUPE, Company

DEMO = ROOT / "examples/demo_model"
SUBMIT_EXAMPLE = os.environ.get("SUBMIT_EXAMPLE", str(ROOT / "build/dev/bin/02_submit_cpp"))
OPENAI_PYTHON = ROOT / "build/venv-openai/bin/python"  # tests/integration/python/make_venv.sh
REQUESTS = 200
TIMEOUT_S = 60


def sum_request(number):
    """A line of OpenAI's batch format that asks for a sum, and the sum."""
    a, b = 2 + number % 20, 3 + number // 20
    body = {"messages": [{"role": "user", "content": f"What is {a} + {b}?"}], "temperature": 0}
    line = {"custom_id": f"sum-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line), a + b


class cli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.company = cls.enterClassContext(Company(model=DEMO))
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="troupe-cli-")))

    def run_program(self, *command, exit_status=0):
        """What a program writes to stdout."""
        run = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=TIMEOUT_S,
                             env=os.environ | {"TROUPE_URL": self.company.url})
        self.assertEqual(run.returncode, exit_status, run.stdout + run.stderr)
        return run.stdout

    def troupe(self, verb, *arguments, **expected):
        return self.run_program(TROUPE, verb, "--url", self.company.url, *arguments, **expected)

    def write_requests(self, name, count):
        """A JSONL file of `count` requests."""
        file = self.folder / name
        file.write_text("".join(sum_request(number)[0] + "\n" for number in range(count)))
        return file

    def check_sums(self, lines, count):
        """Each request has one answer, a right one."""
        answers = {answer["custom_id"]: answer["response"] for answer in map(json.loads, lines)}
        self.assertEqual(len(lines), count)
        self.assertEqual(set(answers), {f"sum-{number}" for number in range(count)})
        for number in range(count):
            answer = answers[f"sum-{number}"]
            self.assertEqual(answer["status_code"], 200)
            content = answer["body"]["choices"][0]["message"]["content"]
            self.assertIn(f"\\boxed{{{sum_request(number)[1]}}}", content)

    def test_submit_answers_all_of_200_requests_into_a_file(self):
        requests, answers = self.write_requests("many.jsonl", REQUESTS), self.folder / "answers.jsonl"

        self.troupe("submit", "--wait", "-o", answers, requests)

        self.check_sums(answers.read_text().splitlines(), REQUESTS)

    def test_a_detached_job_runs_on_and_is_fetched_later(self):
        job = self.troupe("submit", "--detach", self.write_requests("few.jsonl", 8)).strip()

        self.assertRegex(job, r"^\d+$")
        self.company.wait_for(lambda: f"job {job}: 8 of 8" in self.troupe("status", job))
        self.check_sums(self.troupe("submit", "--job", job).splitlines(), 8)

    def test_submit_prints_the_answer_of_a_prompt(self):
        self.assertIn("\\boxed{8800}", self.troupe("submit", "--temperature", 0, "What is 4821 + 3979?"))

    def test_submit_fails_when_a_request_does_and_answers_the_others(self):
        requests = self.folder / "one_bad.jsonl"
        requests.write_text(sum_request(1)[0] + "\n" + sum_request(2)[0].replace('"messages"', '"massages"') + "\n")

        lines = self.troupe("submit", requests, exit_status=1).splitlines()

        answers = {answer["custom_id"]: answer["response"]["status_code"] for answer in map(json.loads, lines)}
        self.assertEqual(answers, {"sum-1": 200, "sum-2": 400})

    def test_an_unknown_job_is_an_error(self):
        self.troupe("status", "987654321", exit_status=1)

    def test_status_is_a_table_of_roles(self):
        head, *rows, last = self.troupe("status").splitlines()

        self.assertEqual(head.split()[:5], ["NAME", "ROLE", "DEVICE", "STATE", "PID"])
        self.assertEqual({row.split()[0] for row in rows}, set(self.company.roles()))
        for row in rows:
            self.assertRegex(row, r" ready +\d+ ")
        self.assertEqual(last, "ready")

    def test_status_as_json_is_the_servers_answer(self):
        roles = json.loads(self.troupe("status", "--json"))["roles"]

        self.assertEqual({role["name"] for role in roles}, set(self.company.roles()))

    def test_chat_thinks_and_answers_one_question(self):
        said = self.troupe("chat", "--temperature", 0, "What is 4821 + 3979?")

        thinking, answer = said.split("</think>")
        self.assertTrue(thinking.startswith("<think>\n"))
        self.assertIn("\\boxed{8800}", answer)

    def test_chat_without_thinking_is_the_answer_alone(self):
        said = self.troupe("chat", "--temperature", 0, "--no-thinking", "What is 4821 + 3979?")

        self.assertEqual(said.strip(), "4821 + 3979 = \\boxed{8800}")

    @unittest.skipUnless(OPENAI_PYTHON.exists(), "the openai package is not there")
    def test_the_python_example_streams_an_answer_and_its_usage(self):
        said = self.run_program(OPENAI_PYTHON, ROOT / "examples/01_chat_python/chat.py", "What is 4821 + 3979?")

        self.assertIn("\\boxed{8800}", said)
        self.assertRegex(said, r"\d+ tokens, \d+ of them thinking")

    def test_the_cpp_example_prints_each_questions_answer(self):
        said = self.run_program(SUBMIT_EXAMPLE, self.company.url, "What is 12 * 12?", "What is 4821 + 3979?")

        self.assertRegex(said, r"What is 12 \* 12\?\n  .*\\boxed\{144\}")
        self.assertRegex(said, r"What is 4821 \+ 3979\?\n  .*\\boxed\{8800\}")

    def test_evaluate_finds_the_answers_right(self):
        said = self.run_program(sys.executable, DEMO / "evaluate.py", "--url", self.company.url, "--problems", 20)

        self.assertRegex(said, re.compile(r"^total +(20|19) +20 ", re.MULTILINE))


@unittest.skipUnless(DEVICE == "cpu", "the tiny shape is a CPU's")
class bench(unittest.TestCase):
    def test_engine_reports_each_batch_and_prefill(self):
        command = [TROUPE, "bench", "engine", "--shape", "tiny", "--batch", "1", "3", "--decode-steps", "2",
                   "--context", "16", "--prefill-tokens", "32", "--json"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)

        results = json.loads(run.stdout)["results"]

        phases = [(row["phase"], row["batch"]) for row in results]
        self.assertEqual(phases, [("decode", 1), ("decode", 3), ("prefill", 1)])
        for row in results:
            self.assertLessEqual({"shape", "phase", "batch", "dtype", "tokens_per_s", "bytes_per_token", "stream_gbs",
                                  "fraction"}, set(row))
            self.assertEqual((row["shape"], row["dtype"]), ("tiny", "bf16"))
            self.assertTrue(all(row[key] > 0 for key in ("tokens_per_s", "bytes_per_token", "stream_gbs", "fraction")))


if __name__ == "__main__":
    unittest.main()
