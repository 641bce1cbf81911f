"""Injects faults into a running image and judges what becomes of its clients: what scripts/bench-faults.sh runs.

The settings are described there. One argument: the JSON file to write. For each fault: a point of /faults is armed with
knobs that follow from the seed and the fault's number, redis and scrape load goes on for a while, the point is disarmed,
and once the image serves again every key that was ever acknowledged is read back. Values carry their key, a version and a
CRC-32, so a wrong answer is seen where it comes in.

Outcomes:
  not-shown     the point was never come by, or nothing failed there
  masked        it failed, and no client, scrape or restart showed it
  recovered     it showed (a connection ended, an answer was late, a subsystem was started again), and all is well again
  degraded      it showed as a refusal that says so (-OOM, 503), and all is well again
  rebooted      the machine started again by itself, warm: keys are gone by the stated policy, clients are served
  lost          none of these: not served within the limit, an acknowledged key gone, or a wrong answer
"""
import json, os, platform, random, re, signal, socket, subprocess, sys, tempfile, threading, time, zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENV = os.environ.get
SEED, FAULTS, ONLY = int(ENV("SEED") or 1), int(ENV("FAULTS") or 300), ENV("ONLY")
TOKEN = "campaign"
KEYS = 200
# Seconds of load with the point armed, and until all must be well again.
ARMED, LIMIT = 0.6, 20.0
# An answer that takes longer shows that something is wrong; a retransmission takes that long.
LATE = 0.25
OUTCOMES = ["not-shown", "masked", "recovered", "degraded", "rebooted", "lost"]
# Of the faults that showed, at least so many are recovered from; of panics and hangs all.
LEAST_RECOVERED = 0.95
TASKS = ["data-plane", "http", "diagnosis"]


def task(dice, **knobs):
    return {"target": dice.choice(TASKS), **knobs}


def often(dice, **knobs):
    return {"times": -1, "probability": dice.randint(1, 10), **knobs}


# Each point with knobs for it.
POINTS = {
    "net-receive-drop": often,
    "net-receive-corrupt": often,
    "net-receive-reorder": often,
    "net-receive-duplicate": often,
    "net-receive-stall": lambda dice: {"times": dice.randint(1, 3), "amount": dice.randint(5, 200)},
    "net-lost-interrupt": lambda dice: {"times": 1, "space": dice.randint(0, 50)},
    "net-send-drop": often,
    "net-send-corrupt": often,
    "net-send-reorder": often,
    "net-send-duplicate": often,
    "net-lost-kick": lambda dice: {"times": dice.randint(1, 3), "probability": dice.randint(5, 50)},
    "net-link-down": lambda dice: {"space": dice.randint(0, 100), "amount": dice.randint(50, 800)},
    "frame-allocation": often,
    "message-drop": lambda dice: {"target": dice.choice(TASKS[:2]), "times": dice.randint(1, 3)},
    "clock-jump": lambda dice: {"amount": dice.randint(1, 100_000)},
    "clock-jump-back": lambda dice: {"amount": dice.randint(1, 100_000)},
    "clock-drift": lambda dice: {"times": -1, "amount": dice.randint(10, 5_000)},
    "task-panic": task,
    "task-wild-read": task,
    "task-wild-write": task,
    "task-wild-jump": task,
    "task-stack-overflow": task,
    "task-hang": task,
    "task-hang-pinned": task,
    "task-lock-held": task,
    "task-endless-allocation": task,
    "task-leak": lambda dice: task(dice, times=dice.randint(1, 20), amount=dice.randint(1, 1 << 18)),
    "task-slow": lambda dice: task(dice, times=dice.randint(1, 100), amount=dice.randint(100, 20_000)),
    # The diagnosis answers by its executor.
    "task-deaf": lambda dice: {"target": dice.choice(TASKS[:2])},
    "store-bit-flip": lambda dice: {"times": dice.randint(1, 3), "amount": 1 << dice.randint(12, 22)},
}
RESTARTED = [name for name in POINTS if re.match("task-(panic|wild|stack|hang|lock|endless)", name)]


def say(text):
    print("bench-faults: " + text, file=sys.stderr, flush=True)


# --- the image ---------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Image:
    """A booted image; made inside `with`, ended after it."""

    def __enter__(self):
        self.redis, self.http = free_port(), free_port()
        self.console = tempfile.TemporaryFile()
        # No key leaves by policy: one that is gone was lost.
        policy = "nos.maxmemory-policy=noeviction"
        settings = {
            "ACCEL": "tcg", "NET": "user", "MEM": ENV("MEM") or "128M", "SMP": ENV("SMP") or "1",
            "REDIS_PORT": str(self.redis), "HTTP_PORT": str(self.http),
            "APPEND": f"nos.admin-token={TOKEN} nos.hang-ms=100 nos.health-ms=1000 nos.on-panic=reset {policy}",
        }
        self.qemu = subprocess.Popen(
            [os.path.join(ROOT, "scripts", "run.sh")], env={**os.environ, **settings},
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=subprocess.STDOUT, start_new_session=True)
        began = time.monotonic()
        while "nos: ready" not in self.said():
            if self.qemu.poll() is not None or time.monotonic() - began > 60:
                raise SystemExit("the image did not start:\n" + self.said())
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        # run.sh has become QEMU: this is its own process group.
        os.killpg(self.qemu.pid, signal.SIGKILL)
        self.qemu.wait()

    def said(self):
        return os.pread(self.console.fileno(), 1 << 24, 0).decode(errors="replace").replace("\r", "")

    def lives(self):
        return self.said().count("nos: ready")

    def ask(self, path, body=None, timeout=2.0):
        """Status and body of an answer; (0, "") if there is none."""
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n"
        if body is not None:
            head += f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.http), timeout) as one:
                one.settimeout(timeout)
                one.sendall((head + "\r\n" + (body or "")).encode())
                answer = b""
                while piece := one.recv(65536):
                    answer += piece
        except OSError:
            return 0, ""
        head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
        length = re.search(r"(?i)^content-length: (\d+)", head, re.M)
        whole = length and len(body.encode()) == int(length[1])
        return (int(head.split(" ")[1]), body) if whole and head.startswith("HTTP/1.1 ") else (0, "")

    def json(self, path, body=None):
        status, text = self.ask(path, body)
        try:
            return json.loads(text) if status == 200 else None
        except ValueError:
            return None

    def until(self, what, limit=LIMIT):
        """What `what` answers once that is true; None if it is not within the limit."""
        end = time.monotonic() + limit
        while not (answer := what()) and time.monotonic() < end:
            time.sleep(0.01)
        return answer or None

    def restarts(self):
        """Restarts of all subsystems once all of them run; None before."""
        page = self.json("/subsystems")
        rows = page and page["subsystems"]
        if not rows or any(row["state"] != "running" for row in rows):
            return None
        return {row["name"]: row["incarnation"] for row in rows}


# --- load --------------------------------------------------------------------------------------------------


class Ended(Exception):
    """The connection ended, or an answer took too long to wait for."""


class Redis:
    """A connection to the cache, and the one command after the other on it."""

    def __init__(self, port):
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), 5)
        except OSError:
            raise Ended
        self.socket.settimeout(5)
        self.read = self.socket.makefile("rb")

    def command(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        try:
            self.socket.sendall(request)
            line = self.read.readline()
            if line[:1] == b"$" and int(line[1:]) >= 0:
                line = self.read.read(int(line[1:]) + 2)
                if len(line) < 2:
                    raise Ended
                return line[:-2]
            if not line.endswith(b"\r\n"):
                raise Ended
            return None if line == b"$-1\r\n" else line[:-2]
        except (OSError, ValueError):
            raise Ended


def value_of(key, version, length):
    body = f"{key}:{version}:".encode() + b"x" * length
    return body + b"%08x" % zlib.crc32(body)


class Load:
    """Sets and gets over one connection at a time, and what it saw. Which values a key may have follows from what was
    acknowledged: that version, or one that was sent and not answered."""

    def __init__(self, image, dice):
        self.image, self.dice, self.redis = image, dice, None
        self.acknowledged, self.sent, self.version = {}, {}, 0
        self.clear()

    def clear(self):
        self.requests = self.ended = self.late = self.refused = 0
        self.wrong, self.gone = [], []
        self.failed_at = self.served_at = None

    def forget(self):
        """Whatever was set is gone by policy: the machine started again."""
        self.acknowledged, self.sent = {}, {}

    def judge(self, key, value):
        known = {version for version in (self.acknowledged.get(key), *self.sent.get(key, ())) if version}
        if value is None:
            if key in self.acknowledged:
                self.gone.append(key)
            return
        version = re.match(rb"(\S+?):(\d+):", value)
        whole = len(value) > 8 and b"%08x" % zlib.crc32(value[:-8]) == value[-8:]
        if not whole or not version or version[1].decode() != key or int(version[2]) not in known:
            self.wrong.append((key, value[:40]))

    def step(self):
        """One command, timed; reconnects when a connection has ended."""
        began = time.monotonic()
        try:
            self.redis = self.redis or Redis(self.image.redis)
            key = f"key-{self.dice.randrange(KEYS)}"
            if self.dice.random() < 0.5:
                self.version += 1
                version = self.version
                self.sent.setdefault(key, set()).add(version)
                answer = self.redis.command("SET", key, value_of(key, version, self.dice.randrange(2_000)))
                if answer == b"+OK":
                    self.acknowledged[key], self.sent[key] = version, set()
                elif answer and answer[:1] == b"-":
                    self.refused += 1
                    self.sent[key].discard(version)
                else:
                    self.wrong.append((key, answer))
            else:
                answer = self.redis.command("GET", key)
                if answer and re.match(rb"-(OOM|LOADING|ERR|BUSY)", answer):
                    self.refused += 1
                else:
                    self.judge(key, answer)
            self.requests += 1
            took = time.monotonic() - began
            if took > LATE:
                self.late += 1
                self.failed_at = self.failed_at or began
            if self.failed_at:
                self.served_at = self.served_at or time.monotonic()
        except Ended:
            self.redis = None
            self.ended += 1
            self.failed_at = self.failed_at or began
            self.served_at = None
            time.sleep(0.01)

    def read_back(self):
        """Reads every key that was acknowledged."""
        for _ in range(3):
            try:
                self.redis = self.redis or Redis(self.image.redis)
                for key in sorted(self.acknowledged):
                    self.judge(key, self.redis.command("GET", key))
                return
            except Ended:
                self.redis = None
        self.wrong.append(("reading back", b"no answer"))


class Scraper(threading.Thread):
    """Scrapes again and again, and counts the scrapes without a whole page."""

    def __init__(self, image):
        super().__init__(daemon=True)
        self.image, self.failed, self.refused, self.is_over = image, 0, 0, threading.Event()
        self.start()

    def run(self):
        while not self.is_over.wait(0.1):
            status, _ = self.image.ask("/metrics")
            self.failed += status == 0
            self.refused += status == 503

    def end(self):
        self.is_over.set()
        self.join()


# --- one fault ---------------------------------------------------------------------------------------------


def words(setting):
    return (ENV(setting) or "").replace(",", " ").split()


def draw(number):
    """The point and the knobs of a fault: they follow from the seed and its number alone."""
    dice = random.Random(f"{SEED}:{number}")
    names = words("POINTS") or POINTS
    point = dice.choice([name for name in names if name not in words("EXCEPT")])
    return point, {**POINTS[point](dice), "seed": dice.randrange(1 << 32)}, dice


def outcome_of(serves, damage, rebooted, fired, troubles, refusals):
    """The outcome of a fault, by what was seen."""
    if not serves or damage:
        return "lost"
    if rebooted:
        return "rebooted"
    if not fired:
        return "not-shown"
    return "recovered" if troubles else "degraded" if refusals else "masked"


def inject(image, load, number):
    """Injects one fault; its outcome and what was seen of it. Without an outcome there is no use in going on here."""
    point, knobs, dice = draw(number)
    load.dice = dice
    load.clear()
    lives, before = image.lives(), image.until(image.restarts)
    if before is None:
        return point, knobs, None, {"why": "it does not serve before"}
    scraper = Scraper(image)
    for _ in range(20):
        load.step()
    armed_at = time.monotonic()
    order = "&".join(f"{key}={value}" for key, value in {"point": point, **knobs}.items())
    # Who is told to die may take the answer along.
    status, text = image.ask("/faults", order)
    if status == 400:
        raise SystemExit(f"{order}: {text}")
    while time.monotonic() < armed_at + ARMED:
        load.step()
    scraper.end()
    off = image.until(lambda: image.json("/faults", f"point={point}&state=off"))
    if point == "task-deaf":
        # It is found out after some checks, each a second after the other.
        image.until(lambda: (now := image.restarts()) and now != before)
    after = image.until(image.restarts)
    end = time.monotonic() + LIMIT
    was_ended = load.ended
    while True:
        load.step()
        if load.ended == was_ended or time.monotonic() > end:
            break
        was_ended = load.ended
    rebooted = image.lives() > lives
    fired = None
    if off:
        row = next(row for row in off["points"] if row["point"] == point)
        fired = row["fired"]
    fired_new = None if fired is None else fired - inject.fired.get(point, 0)
    if rebooted:
        load.forget()
        inject.fired.clear()
        fired_new = 1
    elif fired is not None:
        inject.fired[point] = fired
    load.read_back()
    restarted = sorted(name for name in before if after and after[name] != before[name])
    seen = {
        "fired": fired_new, "restarted": restarted, "ended": load.ended, "late": load.late,
        "refused": load.refused, "scrapes_failed": scraper.failed, "scrapes_refused": scraper.refused,
        "wrong": len(load.wrong), "gone": len(load.gone), "requests": load.requests,
    }
    if load.failed_at and load.served_at:
        seen["recovery_seconds"] = round(load.served_at - load.failed_at, 3)
    refusals = load.refused + scraper.refused
    troubles = load.ended + load.late + scraper.failed + len(restarted)
    if not (off and after) or load.wrong or load.gone:
        seen["why"] = str((load.wrong or load.gone or ["it does not serve again"])[0])
    outcome = outcome_of(serves=bool(off and after), damage=bool(load.wrong or load.gone), rebooted=rebooted,
                         fired=bool(fired_new), troubles=troubles, refusals=refusals)
    return point, knobs, outcome, seen


inject.fired = {}


# --- the campaign ------------------------------------------------------------------------------------------


def campaign(numbers):
    """Injects those faults, each image for as long as it lasts; yields number and what `inject` answers."""
    numbers = list(numbers)
    while numbers:
        inject.fired.clear()
        with Image() as image:
            load, is_fresh = Load(image, random.Random(SEED)), True
            while numbers:
                point, knobs, outcome, seen = inject(image, load, numbers[0])
                if outcome is None:
                    # On to a fresh image; one that does not serve either is no matter of faults.
                    if is_fresh:
                        raise SystemExit("a fresh image does not serve:\n" + image.said())
                    break
                is_fresh = False
                yield numbers.pop(0), point, knobs, outcome, seen
                if outcome == "lost":
                    break


def quantile(values, of):
    values = sorted(values)
    return values[min(len(values) - 1, int(of * len(values)))] if values else None


def share(rows):
    """Which part of the faults that showed was recovered from."""
    good = sum(row["recovered"] + row["degraded"] for row in rows)
    bad = sum(row["rebooted"] + row["lost"] for row in rows)
    return good / (good + bad) if good + bad else 1.0


def is_good(wrong, lost, recovered, restarted):
    """Whether a campaign went as it must."""
    return not wrong and not lost and recovered >= LEAST_RECOVERED and restarted == 1.0


def main(path):
    counts = {point: dict.fromkeys(OUTCOMES, 0) for point in POINTS}
    wrong, recoveries, failures, done = 0, [], [], 0
    began = time.monotonic()
    for number, point, knobs, outcome, seen in campaign([int(ONLY)] if ONLY else range(FAULTS)):
        counts[point][outcome] += 1
        done += 1
        wrong += seen["wrong"]
        if outcome == "recovered" and "recovery_seconds" in seen:
            recoveries.append(seen["recovery_seconds"])
        if outcome in ("lost", "rebooted"):
            failures.append({"fault": number, "point": point, "knobs": knobs, "outcome": outcome, **seen})
            say(f"fault {number} ({point} {knobs}): {outcome}, {seen}; again: make bench-faults SEED={SEED} ONLY={number}")
        elif ONLY or done % 25 == 0:
            say(f"{done} faults, the last: {number} {point} {knobs}: {outcome}, {seen}")
    total = {outcome: sum(row[outcome] for row in counts.values()) for outcome in OUTCOMES}
    showed = sum(total[outcome] for outcome in OUTCOMES[2:])
    recovered, restarted = share(counts.values()), share([counts[point] for point in RESTARTED])

    print(f"{'point':<26}" + "".join(f"{outcome:>11}" for outcome in OUTCOMES))
    for point, row in [*counts.items(), ("all", total)]:
        if any(row.values()):
            print(f"{point:<26}" + "".join(f"{row[outcome]:>11}" for outcome in OUTCOMES))
    print(f"{done} faults from seed {SEED} in {time.monotonic() - began:.0f} s: {showed} showed, {100 * recovered:.1f} % of them recovered"
          f" (panics and hangs {100 * restarted:.1f} %), {wrong} wrong answers")

    results = [
        {"case": point, "subject": "nos", "metric": outcome, "value": row[outcome]}
        for point, row in [*counts.items(), ("all", total)] if any(row.values()) for outcome in OUTCOMES
    ]
    figures = {"faults": done, "showed": showed, "recovered_share": round(recovered, 4),
               "restarted_share": round(restarted, 4), "wrong_answers": wrong,
               "recovery_seconds_p50": quantile(recoveries, 0.5), "recovery_seconds_p99": quantile(recoveries, 0.99)}
    results += [{"case": "campaign", "subject": "nos", "metric": metric, "value": value} for metric, value in figures.items()]
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()
    with open(path, "w") as file:
        json.dump({"benchmark": "faults", "commit": commit or "unknown", "host": f"{platform.system()} {platform.machine()}",
                   "seed": SEED, "results": results, "failures": failures}, file, indent=1)
    say(f"written: {path}")
    return 0 if is_good(wrong, total["lost"], recovered, restarted) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
