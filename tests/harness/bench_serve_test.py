"""What scripts/bench_serve.py makes of its figures: limits, ratios, and the form of the JSON file."""
import contextlib, io, json, os, re, sys, tempfile, unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))
os.environ.update(NET="user", ONLY="boot", IMAGE=os.devnull)
for name in ("QUICK", "INSN_COUNT", "PEER", "BENCH_LOCK"):
    os.environ.pop(name, None)
import bench_serve


def table(*rows):
    """The lines of the table of rows (case, subject, metric, value), by case and metric."""
    bench_serve.results[:] = [dict(zip(("case", "subject", "metric", "value"), row)) for row in rows]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        bench_serve.table()
    return {tuple(line.split()[:2]): line for line in out.getvalue().splitlines()[1:]}


class Table(unittest.TestCase):
    def test_each_limit_is_met_at_its_value_and_missed_above(self):
        for (case, metric), most in bench_serve.TARGETS.items():
            for value, verdict in ((most, "met"), (most + 1, "MISSED")):
                line = table((case, "nos", metric, value))[case, metric]
                self.assertIn(f"<= {most:,}", line)
                self.assertEqual(line.split()[-1], verdict, line)

    def test_the_limits_are_those_of_the_issue(self):
        limits = [bench_serve.TARGETS[key] for key in (
            ("set-64b-p1-idle0", "instructions_per_operation"), ("get-64b-p1-idle0", "instructions_per_operation"),
            ("set-64b-p16-idle0", "instructions_per_operation"), ("get-64b-p16-idle0", "instructions_per_operation"),
            ("healthz", "instructions_per_request"), ("boot", "instructions"), ("scrape", "instructions_per_scrape"),
            ("idle", "instructions_per_second"), ("image", "bytes"), ("memory", "lowest_mebibytes"))]
        self.assertEqual(limits, [4_000, 3_700, 700, 500, 15_000, 1_600_000, 200_000, 2_000, 700_000, 8])

    def test_a_rate_is_held_against_the_peer_of_the_same_run(self):
        case, metric = "get-64b-p1-idle0", "operations_per_second"
        for rate, verdict in ((3_000, "met"), (2_999, "MISSED")):
            line = table((case, "nos", metric, rate), (case, "linux-redis", metric, 1_000))[case, metric]
            self.assertIn(">= 3 x peer", line)
            self.assertEqual(line.split()[-1], verdict, line)
        alone = table((case, "nos", metric, 1))[case, metric]
        self.assertNotIn("peer", alone)
        self.assertNotIn("met", alone.lower())

    def test_idle_connections_may_cost_a_twentieth(self):
        metric = "instructions_per_operation"
        for value, verdict in ((1_050, "met"), (1_060, "MISSED")):
            rows = table(("get-1kib-p1-idle0", "nos", metric, 1_000), ("get-1kib-p1-idle1000", "nos", metric, value))
            self.assertEqual(rows["get-1kib-p1-idle1000", metric].split()[-1], verdict)


class File(unittest.TestCase):
    def test_the_file_has_the_figures_in_the_form_of_every_benchmark(self):
        bench_serve.results.clear()
        bench_serve.boots = lambda: bench_serve.note("boot", bench_serve.Nos, "seconds_to_first_reply", 0.25)
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()) as said:
            path = os.path.join(directory, "serve.json")
            bench_serve.main(path)
            with open(path) as file:
                measured = json.load(file)
        self.assertEqual(set(measured), {"benchmark", "commit", "host", "results"})
        self.assertEqual(measured["benchmark"], "serve")
        self.assertEqual([row["case"] for row in measured["results"]], ["image", "boot"])
        boot = {"case": "boot", "subject": "nos", "metric": "seconds_to_first_reply", "value": 0.25}
        self.assertEqual(measured["results"][1], boot)
        self.assertTrue(re.search("guest instructions are not counted", said.getvalue()))


if __name__ == "__main__":
    unittest.main()
