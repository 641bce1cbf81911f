"""Measures the image as a server, and a peer in turns with it: what scripts/bench-serve.sh runs.

The settings are described there. One argument: the JSON file to write. Everything a guest executes while
redis-benchmark runs counts for its operations: opening and closing its 51 connections (about 1 % at pipeline 1),
timers, the peer's background work.
"""
import contextlib, csv, fcntl, io, json, os, platform, re, resource, signal, socket, statistics, struct
import subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENV = os.environ.get
QUICK, NET, PLUGIN, PEER = bool(ENV("QUICK")), ENV("NET", "tap"), ENV("INSN_COUNT"), ENV("PEER")
N = int(ENV("N") or (4_000 if QUICK else 20_000))
ROUNDS = int(ENV("ROUNDS") or (1 if QUICK else 3))
IDLE_SECONDS = 10 if QUICK else 60
PARTS = (ENV("ONLY") or "instructions rates boot http idle memory").replace(",", " ").split()
KEYS = 100_000
IDLE_CONNECTIONS = 1_000

# The most a case may cost: (case, metric) -> limit. A rate's limit is the least, as a multiple of the peer's.
TARGETS = {
    ("set-64b-p1-idle0", "instructions_per_operation"): 4_000,
    ("get-64b-p1-idle0", "instructions_per_operation"): 3_700,
    ("set-64b-p16-idle0", "instructions_per_operation"): 700,
    ("get-64b-p16-idle0", "instructions_per_operation"): 500,
    ("healthz", "instructions_per_request"): 15_000,
    ("boot", "instructions"): 1_600_000,
    ("scrape", "instructions_per_scrape"): 200_000,
    ("idle", "instructions_per_second"): 2_000,
    ("image", "bytes"): 700_000,
    ("memory", "lowest_mebibytes"): 8,
}
LEAST_RATE_RATIO = 3
MOST_IDLE_RATIO = 1.05


@contextlib.contextmanager
def lock():
    """Keeps others who measure on this machine waiting."""
    with open(ENV("BENCH_LOCK") or os.devnull, "a") as file:
        if ENV("BENCH_LOCK"):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text):
    print("bench-serve: " + text, file=sys.stderr, flush=True)


# --- guests ------------------------------------------------------------------------------------------------


class Guest:
    """A booted guest; made inside `with`, ended after it."""

    running = []

    def __init__(self, memory="512M", counted=False, wait=60, **settings):
        self.directory = tempfile.TemporaryDirectory(prefix="nos-bench.")
        self.counts = os.path.join(self.directory.name, "counts") if counted else None
        self.console = os.path.join(self.directory.name, "console")
        self.started = time.monotonic()
        self.pid = self.boot(memory, **settings)
        Guest.running.append(self)
        self.replied = self.first_reply(wait)
        if wait and not self.replied:
            raise SystemExit(f"{self.subject} did not answer; its console:\n{self.tail()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        Guest.running.remove(self)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        while self.alive():
            time.sleep(0.02)
        self.directory.cleanup()

    def alive(self):
        # A child of ours stays a zombie until it is waited for; a peer's QEMU is nobody's child.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        try:
            with open(f"/proc/{self.pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def tail(self):
        with contextlib.suppress(OSError), open(self.console, errors="replace") as console:
            return console.read()[-2000:]

    def first_reply(self, limit):
        """Tries anew until a PING is answered; whether it was. Notes seconds and instructions until then."""
        while time.monotonic() - self.started < limit and self.alive():
            patience = 0.03 if time.monotonic() - self.started < 5 else 0.5
            try:
                with socket.create_connection(self.redis, patience) as peer:
                    peer.settimeout(0.5)
                    peer.sendall(b"PING\r\n")
                    if peer.recv(16) == b"+PONG\r\n":
                        self.boot_seconds = time.monotonic() - self.started
                        self.boot_instructions = self.instructions()
                        return True
            except OSError:
                time.sleep(0.005)
        return False

    def instructions(self):
        if not self.counts:
            return 0
        with open(self.counts, "rb") as file:
            data = file.read()
        return sum(struct.unpack(f"<{len(data) // 8}Q", data))

    def fill(self, size, keys=KEYS):
        """SETs every key that redis-benchmark -r will ask for, and waits for the replies."""
        value = b"x" * size
        with socket.create_connection(self.redis, 60) as peer:
            replies = peer.makefile("rb")
            # 4 KiB at a time fit any window: a sender whose window is less than its segment waits for a timer.
            step = 4096 // (size + 50)
            for start in range(0, keys, step):
                batch = range(start, min(start + step, keys))
                peer.sendall(b"".join(
                    b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n" % (key, size, value) for key in batch))
                for _ in batch:
                    if (reply := replies.readline()) != b"+OK\r\n":
                        raise OSError(f"{self.subject} refused a SET while it was filled: {reply}")

    def load(self, test, pipeline, size, count):
        """Runs redis-benchmark over the filled keys; (operations a second, instructions an operation)."""
        command = ["redis-benchmark", "-h", self.redis[0], "-p", str(self.redis[1]), "-t", test, "-n", str(count),
                   "-c", "50", "-d", str(size), "-P", str(pipeline), "-r", str(KEYS), "--csv"]
        hits, misses = self.lookups()
        with lock():
            before = self.instructions()
            text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=900, check=True).stdout
            executed = self.instructions() - before
        if test == "get" and (now := self.lookups()) != (hits + count, misses):
            raise SystemExit(f"{self.subject}: {now[0] - hits} hits, {now[1] - misses} misses in {count} GETs")
        row = next(csv.DictReader(io.StringIO(text[text.index('"test"'):])))
        return float(row["rps"]), executed / count

    def http(self, path, port=None, keep=None):
        """One GET; on a connection of its own unless `keep` is a socket to use. The whole reply."""
        close = b"" if keep else b"Connection: close\r\n"
        request = b"GET %s HTTP/1.1\r\nHost: nos\r\n%s\r\n" % (path.encode(), close)
        with contextlib.ExitStack() as stack:
            peer = keep or stack.enter_context(socket.create_connection((self.web[0], port or self.web[1]), 30))
            peer.sendall(request)
            reply = b""
            while chunk := peer.recv(1 << 18):
                reply += chunk
                head, _, body = reply.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                if keep and length and len(body) >= int(length[1]):
                    break
        if b" 200 " not in reply[:16]:
            raise OSError(f"{path}: {reply[:80]}")
        return reply

    @contextlib.contextmanager
    def idle_connections(self, count):
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                peer = stack.enter_context(socket.create_connection(self.redis, 30))
                peer.sendall(b"PING\r\n")
                peer.recv(16)
            yield
        time.sleep(1)


def free_port():
    """A new one for each boot: what forwarded the last guest's may outlive it by a second."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nos(Guest):
    subject = "nos"
    redis, web = ("10.0.2.15", 6379), ("10.0.2.15", 9100)

    def boot(self, memory):
        count = f"-plugin {PLUGIN},out={self.counts}" if self.counts else ""
        if NET == "tap":
            command = ("qemu-system-aarch64 -M virt -accel tcg -cpu cortex-a72 -smp 1 -nodefaults -no-reboot -display none"
                       " -monitor none -serial stdio -global virtio-mmio.force-legacy=false"
                       " -netdev tap,id=n0,ifname=tap0,script=no,downscript=no,vhost=off"
                       " -device virtio-net-device,netdev=n0,mac=52:54:00:12:34:56"
                       f" {count} -m {memory} -kernel {ENV('IMAGE')} -append").split() + [f"nos.ip=10.0.2.15/24,10.0.2.2 {ENV('APPEND', '')}"]
        else:
            self.redis, self.web = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
            command = [os.path.join(ROOT, "scripts/run.sh")]
        settings = dict(os.environ, NET="", SMP="1", MEM=memory, ACCEL="tcg", CPU="cortex-a72", QEMU_EXTRA=count,
                        REDIS_PORT=str(self.redis[1]), HTTP_PORT=str(self.web[1]))
        with open(self.console, "wb") as console:
            return subprocess.Popen(command, env=settings, stdin=subprocess.DEVNULL, stdout=console, stderr=console).pid

    def lookups(self):
        """Reads that found their key, and that did not, since boot."""
        text = self.http("/metrics").decode()
        return tuple(sum(int(v) for v in re.findall(rf"^nos_kv_keyspace_{name}_total\S* (\d+)", text, re.M))
                     for name in ("hits", "misses"))


class Peer(Guest):
    subject = "linux-redis"
    redis, web, exporter = ("10.0.3.15", 6379), ("10.0.3.15", 9100), 9121

    def boot(self, memory, initrd="redis"):
        if NET == "user":
            self.redis, self.web, self.exporter = ("127.0.0.1", free_port()), ("127.0.0.1", free_port()), free_port()
        settings = dict(os.environ, NET=NET, TAPIF="tap1", IPADDR="10.0.3.15/24", GW="10.0.3.2", PORT=str(self.redis[1]),
                        MPORT=str(self.web[1]), XPORT=str(self.exporter), MEM=memory, SMP="1", INITRD=initrd,
                        SERIAL=self.console, PLUGIN=PLUGIN if self.counts else "", CNT=self.counts or "", APPEND="",
                        QEMU_EXTRA="")
        if NET == "user":  # the peer's own addresses suit user networking
            del settings["IPADDR"], settings["GW"]
        run = subprocess.run([os.path.join(PEER, "run.sh")], env=settings, stdout=subprocess.PIPE, check=True, text=True)
        return int(run.stdout)

    def lookups(self):
        with socket.create_connection(self.redis, 30) as peer:
            peer.sendall(b"INFO stats\r\nQUIT\r\n")
            text = b"".join(iter(lambda: peer.recv(1 << 16), b"")).decode()
        return tuple(int(re.search(rf"keyspace_{name}:(\d+)", text)[1]) for name in ("hits", "misses"))


SUBJECTS = [Nos, Peer] if PEER else [Nos]

# --- measurements ------------------------------------------------------------------------------------------

results = []


def note(case, subject, metric, value):
    results.append({"case": case, "subject": subject.subject, "metric": metric, "value": round(value, 3)})
    say(f"{case} {subject.subject}: {value:,.6g} {metric}")


def loads(counted):
    """SET and GET over filled keys, the subjects in turns case by case, so that both meet the same host."""
    metric = "instructions_per_operation" if counted else "operations_per_second"
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(subject(counted=counted)) for subject in SUBJECTS]
        for size, label in ((64, "64b"), (1024, "1kib")):
            for guest in guests:
                guest.fill(size)
            for idle in (0, IDLE_CONNECTIONS):
                with contextlib.ExitStack() as connections:
                    for guest in guests:
                        connections.enter_context(guest.idle_connections(idle))
                    for pipeline in (1, 16):
                        for test in ("set", "get"):
                            count = N if pipeline == 1 else 5 * N // pipeline * pipeline
                            values = {guest: [] for guest in guests}
                            for _ in range(ROUNDS):
                                for guest in guests:
                                    values[guest].append(guest.load(test, pipeline, size, count)[counted])
                            for guest in guests:
                                note(f"{test}-{label}-p{pipeline}-idle{idle}", guest, metric,
                                     statistics.median(values[guest]))


def boots():
    """From QEMU's start to the first +PONG."""
    for counted in (False, True) if PLUGIN else (False,):
        seconds, instructions = {}, {}
        for _ in range(ROUNDS):
            for subject in SUBJECTS:
                with lock(), subject(counted=counted) as guest:
                    seconds.setdefault(subject, []).append(guest.boot_seconds)
                    instructions.setdefault(subject, []).append(guest.boot_instructions)
        for subject in SUBJECTS:
            metric, values = ("instructions", instructions) if counted else ("seconds_to_first_reply", seconds)
            note("boot", subject, metric, statistics.median(values[subject]))


def repeated(guest, count, request):
    """Instructions of one request, the mean of `count`, with what ending the last connection takes, and
    less what the guest does unasked (the peer's exporters do much)."""
    background = 0
    if guest.subject != "nos":
        before = guest.instructions()
        time.sleep(5)
        background = (guest.instructions() - before) / 5
    request()
    with lock():
        before, start = guest.instructions(), time.monotonic()
        for _ in range(count):
            reply = request()
        time.sleep(0.1)
        executed = guest.instructions() - before - background * (time.monotonic() - start)
    return executed / count, len(reply)


def http():
    """Requests on a new connection each, as the probes do; scrapes on one kept open as well, as Prometheus does."""
    with Nos(counted=True) as guest:
        guest.fill(64)
        guest.load("get", 1, 64, 1_000)
        note("healthz-first-100", guest, "instructions_per_request", repeated(guest, 100, lambda: guest.http("/healthz"))[0])
        repeated(guest, 100, lambda: guest.http("/healthz"))  # until old connections make room for new ones
        note("healthz", guest, "instructions_per_request", repeated(guest, 500, lambda: guest.http("/healthz"))[0])
        executed, size = repeated(guest, 50, lambda: guest.http("/metrics"))
        note("scrape", guest, "instructions_per_scrape", executed)
        note("scrape", guest, "bytes", size)
        with socket.create_connection(guest.web, 30) as keep:
            note("scrape-kept-connection", guest, "instructions_per_scrape",
                 repeated(guest, 50, lambda: guest.http("/metrics", keep=keep))[0])
    if PEER:
        with Peer(counted=True, initrd="full") as guest:
            time.sleep(6)  # until the exporters serve
            for case, port in (("scrape", guest.exporter), ("scrape-node-exporter", guest.web[1])):
                executed, size = repeated(guest, 30, lambda: guest.http("/metrics", port))
                note(case, guest, "instructions_per_scrape", executed)
                note(case, guest, "bytes", size)


def idle():
    """What nobody asked for: IDLE_SECONDS from 10 s after the first reply."""
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(subject(counted=True)) for subject in SUBJECTS]
        time.sleep(10)
        before, start = [guest.instructions() for guest in guests], time.monotonic()
        time.sleep(IDLE_SECONDS)
        seconds = time.monotonic() - start
        after = [guest.instructions() for guest in guests]
        for guest, first, last in zip(guests, before, after):
            guest.lookups()  # still there: a dead guest executes nothing either
            note("idle", guest, "instructions_per_second", (last - first) / seconds)


def serves(subject, mebibytes):
    """Does it boot in so much memory and keep 1,000 keys of 64 bytes; nos a scrape beside?"""
    with subject(memory=f"{mebibytes}M", wait=0) as guest:
        try:
            if not guest.first_reply(10 if subject is Nos else 40):
                return False
            guest.fill(64, keys=1_000)
            return subject is Peer or bool(guest.http("/metrics"))
        except OSError:
            return False


def memory():
    for subject, low, high, step in ((Nos, 4, 64, 1), (Peer, 32, 256, 2))[: 2 if PEER and not QUICK else 1]:
        # Bisection: `high` serves, `low` does not.
        if not serves(subject, high):
            raise SystemExit(f"{subject.subject} does not serve in {high} MiB")
        while high - low > step:
            middle = (low + high) // 2 // step * step
            low, high = (low, middle) if serves(subject, middle) else (middle, high)
        note("memory", subject, "lowest_mebibytes", high)


def size():
    # Stripped, as images are compared: without the names of functions, which are told beside.
    names = os.path.splitext(ENV("IMAGE"))[0] + ".symbols"
    names = os.path.getsize(names) if os.path.exists(names) else 0
    note("image", Nos, "bytes", os.path.getsize(ENV("IMAGE")) - names)
    if names:
        note("image", Nos, "symbol_bytes", names)
    if PEER:
        work = ENV("WORK") or "/tmp/peer-linux"
        note("image", Peer, "bytes", sum(os.path.getsize(os.path.join(work, f)) for f in ("Image", "initrd-redis")))


# --- the report --------------------------------------------------------------------------------------------


def host():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    qemu = subprocess.run(["qemu-system-aarch64", "--version"], stdout=subprocess.PIPE, text=True).stdout.split()[3]
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} x {cpu or 'CPU'}, QEMU {qemu}, {NET} network"


def commit():
    git = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return git.stdout.strip() or "unknown"


def number(value):
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def table():
    by = {(r["case"], r["metric"], r["subject"]): r["value"] for r in results}
    rows = []
    for case, metric in dict.fromkeys((r["case"], r["metric"]) for r in results):
        nos, peer = by.get((case, metric, "nos")), by.get((case, metric, "linux-redis"))
        ratio = nos / peer if nos is not None and peer else None
        limit, verdict = "", ""
        if (most := TARGETS.get((case, metric))) is not None:
            limit, met = f"<= {most:,}", nos <= most
        elif case in ("set-64b-p1-idle0", "get-64b-p1-idle0", "set-64b-p16-idle0", "get-64b-p16-idle0") and ratio:
            limit, met = f">= {LEAST_RATE_RATIO} x peer", ratio >= LEAST_RATE_RATIO
        elif metric == "instructions_per_operation" and case.endswith(f"idle{IDLE_CONNECTIONS}"):
            none = by[case.replace(f"idle{IDLE_CONNECTIONS}", "idle0"), metric, "nos"]
            limit, met = f"<= {MOST_IDLE_RATIO} x idle0 ({nos / none:.2f})", nos <= MOST_IDLE_RATIO * none
        if limit:
            verdict = "met" if met else "MISSED"
        rows.append((case, metric, number(nos), number(peer), number(ratio), limit, verdict))
    head = ("case", "metric", "nos", "linux-redis", "ratio", "target", "")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.rjust(w) if i in (2, 3, 4) else cell.ljust(w)
                        for i, (cell, w) in enumerate(zip(row, widths))).rstrip())


def main(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    measured = {"benchmark": "serve", "commit": commit(), "host": host(), "results": results}
    say(f"{measured['commit']} on {measured['host']}")
    if not PLUGIN:
        say("no INSN_COUNT=PLUGIN given: guest instructions are not counted, and their rows are left out")
    steps = {"instructions": lambda: loads(True), "rates": lambda: loads(False), "boot": boots, "http": http,
             "idle": idle, "memory": memory}
    if unknown := set(PARTS) - set(steps):
        raise SystemExit(f"ONLY: no part {', '.join(unknown)}; there are {', '.join(steps)}")
    size()
    try:
        for part in PARTS:
            if PLUGIN or part in ("rates", "boot", "memory"):
                steps[part]()
    finally:
        for guest in list(Guest.running):
            guest.__exit__()
    with open(path, "w") as file:
        json.dump(measured, file, indent=1)
        file.write("\n")
    table()
    say(f"written: {path}")


if __name__ == "__main__":
    main(sys.argv[1])
