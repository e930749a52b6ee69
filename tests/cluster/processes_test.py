"""A cluster of processes answers what one process answers, whatever happens to its roles."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

from company import DEVICE, ROOT, TROUPE, Company, Load, expected_answers, make_checkpoint


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def children(pid):
    """Of every thread."""
    files = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for file in files for child in file.read_text().split()}


class processes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.expected = expected_answers()

    def check(self, answers, at_least):
        self.assertGreaterEqual(len(answers), at_least)
        for number, status, choices in answers:
            self.assertEqual(status, 200, f"request {number} was lost: {choices}")
            self.assertEqual(choices, self.expected[number], f"request {number} got another answer")

    def under_load(self, company, role, how):
        """Sends `how` to the role in the middle of load; returns every answer."""
        load = Load(company)
        load.wait_for_answers(10)
        company.kill(role, how)
        company.wait_replaced(role)
        load.wait_for_answers(len(load.answers) + 20)
        return load.stop()

    def test_many_requests_at_once_get_the_tokens_that_each_gets_alone(self):
        with Company(expert_shards=0) as company:
            load = Load(company, clients=16)
            load.wait_for_answers(80)
            self.check(load.stop(), 80)

    def test_four_processes_and_five_give_the_tokens_of_one(self):
        for shards in (2, 3):
            with Company(expert_shards=shards) as company:
                load = Load(company)
                load.wait_for_answers(40)
                self.check(load.stop(), 40)
                self.assertEqual(company.stop(), 0)

    def test_status_shows_every_role_with_device_and_progress(self):
        with Company() as company:
            company.complete(1)
            company.wait_for(lambda: company.roles()["kv_cache-0"]["steps"] > 0)
            roles = company.roles()
            self.assertEqual(set(roles), {"supervisor", "router-0", "kv_cache-0", "expert_shard-0", "expert_shard-1"})
            self.assertEqual({role["state"] for role in roles.values()}, {"ready"})
            self.assertEqual(len({role["pid"] for role in roles.values()}), 4)
            self.assertTrue(roles["expert_shard-1"]["device"].startswith(DEVICE + "/"))

    def test_a_killed_expert_shard_is_replaced_and_no_request_is_lost(self):
        with Company() as company:
            self.check(self.under_load(company, "expert_shard-1", signal.SIGKILL), 30)

    def test_a_killed_kv_cache_is_replaced_and_no_request_is_lost(self):
        with Company() as company:
            self.check(self.under_load(company, "kv_cache-0", signal.SIGKILL), 30)

    def test_each_role_leaves_on_sigterm_under_load_and_nothing_is_lost(self):
        for role, kv_caches in (("expert_shard-0", 1), ("kv_cache-0", 1), ("kv_cache-1", 2)):
            with self.subTest(role=role), Company(kv_caches=kv_caches) as company:
                pid = company.roles()[role]["pid"]
                self.check(self.under_load(company, role, signal.SIGTERM), 30)
                self.assertIn(f"{role} (process {pid}) ended with status 0", company.log())

    def test_a_role_told_to_leave_in_its_first_moments_leaves_well(self):
        with Company() as company:
            before = children(company.process.pid)
            company.kill("expert_shard-0", signal.SIGTERM)
            while not (born := children(company.process.pid) - before):
                self.assertIsNone(company.process.poll())
            os.kill(born.pop(), signal.SIGTERM)
            company.wait_for(lambda: company.log().count("ended with status 0") == 2)
            company.wait_for(lambda: company.get("/ready")[0] == 200)

    def test_process_0_drains_everybody_on_sigterm_and_finishes_what_runs(self):
        for shards in (0, 2):
            with self.subTest(shards=shards), Company(expert_shards=shards) as company:
                load = Load(company)
                load.wait_for_answers(10)
                self.assertEqual(company.stop(), 0)
                answers = load.stop()
                # What was taken is answered in full; what came later was refused before it began.
                self.check([answer for answer in answers if answer[1] == 200], 10)
                self.assertLessEqual({status for _, status, _ in answers}, {200, 503, 0})

    def test_role_processes_do_not_outlive_process_0(self):
        with Company() as company:
            pids = [role["pid"] for role in company.roles().values() if role["pid"] != company.process.pid]
            self.assertEqual(len(pids), 3)

            company.process.kill()
            company.process.wait()

            deadline = time.monotonic() + 10
            while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertEqual([pid for pid in pids if is_running(pid)], [])

    def test_a_checkpoint_that_cannot_be_loaded_ends_the_cluster_with_the_reason(self):
        with tempfile.TemporaryDirectory() as folder:
            make_checkpoint(folder)
            weights = max(pathlib.Path(folder).glob("model*.safetensors"))
            weights.write_bytes(weights.read_bytes()[:100_000])
            run = subprocess.run([TROUPE, "launch", str(ROOT / "examples/recipes/local.yaml"), "--port", "0", "--model",
                                  folder, "--device", DEVICE], capture_output=True, text=True, timeout=60)
            self.assertEqual(run.returncode, 1)
            self.assertIn("is the file truncated?", run.stderr)
            self.assertIn("the cluster ends", run.stderr)

    def test_dummy_weights_need_no_files_and_are_the_same_in_every_process(self):
        flags = ["--load-format", "dummy", "--seed", "7", "--served-model-name", "tiny"]
        with tempfile.TemporaryDirectory() as folder:
            make_checkpoint(folder, weights=False)
            with Company(expert_shards=0, model=folder, flags=flags) as alone:
                expected = [alone.complete(number) for number in range(6)]
                self.assertEqual(alone.get("/server_info")[1]["load_format"], "dummy")
                self.assertIn("--load-format dummy", alone.log())
            with Company(expert_shards=3, model=folder, flags=flags) as company:
                self.assertEqual([company.complete(number) for number in range(6)], expected)
        self.assertEqual({status for status, _ in expected}, {200})
        self.assertNotEqual([choices for _, choices in expected], self.expected[:6])

    def test_a_missing_recipe_is_refused_with_one_line(self):
        run = subprocess.run([TROUPE, "launch", "nowhere.yaml"], capture_output=True, text=True, timeout=30)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("nowhere.yaml: cannot be opened", run.stderr)


if __name__ == "__main__":
    unittest.main()
