"""What scripts/bench_faults.py makes of what it sees: draws, answers, outcomes, verdicts."""
import os, random, sys, unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))
for name in ("SEED", "FAULTS", "ONLY", "POINTS", "EXCEPT"):
    os.environ.pop(name, None)
import bench_faults


class Draws(unittest.TestCase):
    def test_a_fault_follows_from_the_seed_and_its_number_alone(self):
        drawn = [bench_faults.draw(number)[:2] for number in range(200)]
        self.assertEqual([bench_faults.draw(number)[:2] for number in reversed(range(200))], drawn[::-1])
        self.assertGreater(len({point for point, _ in drawn}), 20, "all kinds come up")
        bench_faults.SEED += 1
        self.addCleanup(setattr, bench_faults, "SEED", bench_faults.SEED - 1)
        self.assertNotEqual([bench_faults.draw(number)[:2] for number in range(200)], drawn)

    def test_only_the_points_asked_for_come_up(self):
        os.environ["POINTS"] = "task-panic,net-link-down"
        self.addCleanup(os.environ.pop, "POINTS")
        self.assertEqual({bench_faults.draw(number)[0] for number in range(50)}, {"task-panic", "net-link-down"})
        os.environ["EXCEPT"] = "task-panic"
        self.addCleanup(os.environ.pop, "EXCEPT")
        self.assertEqual({bench_faults.draw(number)[0] for number in range(50)}, {"net-link-down"})

    def test_what_must_be_restarted_is_what_dies(self):
        for name in ("task-panic", "task-hang", "task-hang-pinned", "task-stack-overflow", "task-lock-held"):
            self.assertIn(name, bench_faults.RESTARTED)
        self.assertNotIn("task-slow", bench_faults.RESTARTED)


class Answers(unittest.TestCase):
    def judged(self, value, acknowledged=3, sent=()):
        load = bench_faults.Load(None, random.Random(1))
        if acknowledged:
            load.acknowledged["key-1"] = acknowledged
        load.sent["key-1"] = set(sent)
        load.judge("key-1", value)
        return len(load.wrong), len(load.gone)

    def test_an_acknowledged_value_and_one_under_way_are_right(self):
        self.assertEqual(self.judged(bench_faults.value_of("key-1", 3, 50)), (0, 0))
        self.assertEqual(self.judged(bench_faults.value_of("key-1", 4, 50), sent=[4]), (0, 0))
        self.assertEqual(self.judged(None, acknowledged=None), (0, 0))

    def test_a_key_without_its_acknowledged_value_is_gone(self):
        self.assertEqual(self.judged(None), (0, 1))

    def test_any_other_value_is_wrong(self):
        whole = bench_faults.value_of("key-1", 3, 50)
        for value in (b"", b"x", whole[:-1], bench_faults.value_of("key-1", 2, 50), bench_faults.value_of("key-2", 3, 50)):
            self.assertEqual(self.judged(value), (1, 0), value)
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            self.assertEqual(self.judged(bytes(flipped)), (1, 0), bit)


class Verdicts(unittest.TestCase):
    def test_each_outcome_by_what_was_seen(self):
        seen = dict(serves=True, damage=False, rebooted=False, fired=True, troubles=0, refusals=0)
        for changes, outcome in (
            ({}, "masked"), ({"fired": False}, "not-shown"), ({"refusals": 2}, "degraded"), ({"troubles": 1}, "recovered"),
            ({"troubles": 1, "refusals": 1}, "recovered"), ({"rebooted": True, "troubles": 3}, "rebooted"),
            ({"serves": False}, "lost"), ({"damage": True}, "lost"), ({"damage": True, "rebooted": True}, "lost"),
        ):
            self.assertEqual(bench_faults.outcome_of(**{**seen, **changes}), outcome, changes)

    def test_a_campaign_fails_for_a_wrong_answer_a_loss_or_too_few_recoveries(self):
        self.assertTrue(bench_faults.is_good(0, 0, 0.95, 1.0))
        for bad in ((1, 0, 1.0, 1.0), (0, 1, 1.0, 1.0), (0, 0, 0.949, 1.0), (0, 0, 1.0, 0.99)):
            self.assertFalse(bench_faults.is_good(*bad), bad)

    def test_the_share_is_of_what_showed(self):
        row = dict.fromkeys(bench_faults.OUTCOMES, 0)
        self.assertEqual(bench_faults.share([{**row, "masked": 9}]), 1.0)
        self.assertEqual(bench_faults.share([{**row, "recovered": 2, "degraded": 1}, {**row, "rebooted": 1}]), 0.75)


if __name__ == "__main__":
    unittest.main()
