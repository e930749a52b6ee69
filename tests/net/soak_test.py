"""Peers come, send large segments, leave or are killed; the one that stays neither grows nor gets anything wrong.

    soak_test.py            20 s, as in the test run
    TROUPE_SOAK_S=600 soak_test.py     the long one
"""

import os
import random
import statistics
import time
import unittest

from net_peer import NetPeer

SECONDS = float(os.environ.get("TROUPE_SOAK_S", "20"))
SEED = int(os.environ.get("TROUPE_SEED", random.randrange(1 << 32)))
PEERS = 3
WARM_UP = 0.4  # of the time: until the pools have what they need


class soak(unittest.TestCase):
    def test_memory_and_descriptors_stay_flat_while_peers_come_and_are_killed(self):
        print(f"TROUPE_SEED={SEED} TROUPE_SOAK_S={SECONDS}", flush=True)
        chance = random.Random(SEED)
        stays = NetPeer()
        others, left, killed, memory, descriptors = [], 0, 0, [], []
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < SECONDS:
            while len(others) < PEERS:
                others.append(NetPeer())
                others[-1].ping(stays)
                if chance.random() < 0.5:
                    stays.ping(others[-1])
                if chance.random() < 0.5:
                    others[-1].ping(chance.choice(others))
            time.sleep(chance.uniform(0.05, 0.6))
            gone = others.pop(chance.randrange(len(others)))
            if chance.random() < 0.7:
                gone.kill()
                killed += 1
            else:
                gone.leave()
                left += 1
            if now > WARM_UP * SECONDS:
                memory.append(stays.resident_mib())
                descriptors.append(stays.descriptors())
        for other in others:
            other.kill()
        self.check(stays.report(), memory, descriptors)
        print(f"{killed} killed, {left} left in order", flush=True)
        self.assertEqual(stays.leave(), 0)

    def check(self, report, memory, descriptors):
        print("resident MiB:", *(f"{mib:.0f}" for mib in memory[:: max(1, len(memory) // 20)]), flush=True)
        half = len(memory) // 2
        before, after = statistics.median(memory[:half]), statistics.median(memory[half:])
        first, last = statistics.median(descriptors[:half]), statistics.median(descriptors[half:])
        print(f"resident {before:.0f} -> {after:.0f} MiB, descriptors {first:.0f} -> {last:.0f}, {report}", flush=True)
        for wrong in ("wrong", "timed_out", "out_of_order", "damaged"):
            self.assertEqual(report[wrong], 0, f"TROUPE_SEED={SEED}: {wrong}")
        self.assertGreater(report["answered"], 100)
        self.assertGreater(report["segments"], 100)
        self.assertLess(after, before * 1.1 + 8, f"TROUPE_SEED={SEED}: memory grows")
        self.assertLess(last, first + 3, f"TROUPE_SEED={SEED}: descriptors grow")


if __name__ == "__main__":
    unittest.main()
