"""Puts a load that changes on a traced image and saves what it recorded: what scripts/trace-alloc.sh runs.

Arguments: the image, a seed, and the name of what is written, NAME.bin (the records as they lie in memory, see
src/memory/trace.rs) and NAME.phases (a line for each phase: its name, the number of its first record).

Phases, each until so many allocations were recorded:
  steady     redis clients that replace one value after another
  burst      many values at once, and all of them deleted
  quiet      the same as steady with smaller groups, and clients that come and go
  burst-http many pages at once by HTTP, which runs on the other CPU, while the steady clients go on
The guest's memory is a file of the host's, so that it is looked into while it runs. Only the load depends on
the seed: how the guest's CPUs and the network meet differs a little between runs.
"""
import array, mmap, os, random, socket, struct, subprocess, sys, tempfile, time

MEMORY = 512 << 20
MAGIC = struct.pack("<QQ", 0x616C6C6F632D7472, 0x6163652062656769)
ALLOCATIONS = int(os.environ.get("ALLOCATIONS") or 100_000)
FREED = 1 << 63
# Bytes of a value: above 8 KiB it has a block of its own.
SMALL, LARGE = 8_300, 16_000
PATIENCE_SECONDS = 600
PHASES = (os.environ.get("PHASES") or "steady burst quiet burst_http").split()
# Connections to HTTP, opened one after another: the network that QEMU makes takes hardly more at once.
READERS = 24


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Guest:
    def __init__(self, image, directory):
        self.redis, self.http = free_port(), free_port()
        path = os.path.join(directory, "memory")
        with open(path, "wb") as file:
            file.truncate(MEMORY)
        forwards = f"hostfwd=tcp:127.0.0.1:{self.redis}-:6379,hostfwd=tcp:127.0.0.1:{self.http}-:9100"
        self.log = os.path.join(directory, "log")
        open(self.log, "w").close()
        command = [
            "qemu-system-aarch64", "-M", "virt,memory-backend=ram", "-accel", "tcg", "-cpu", "cortex-a72",
            "-object", f"memory-backend-file,id=ram,size={MEMORY},mem-path={path},share=on",
            "-smp", "2", "-m", f"{MEMORY >> 20}M", "-icount", "shift=0", "-nodefaults", "-display", "none",
            "-monitor", "none", "-no-reboot", "-serial", f"file:{self.log}", "-global", "virtio-mmio.force-legacy=false",
            "-netdev", f"user,id=net,{forwards}", "-device", "virtio-net-device,netdev=net", "-kernel", image,
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), MEMORY)
        self.wait("nos: ready", lambda: "nos: ready" in open(self.log, errors="replace").read())
        place = self.memory.find(MAGIC)
        while place >= 0 and place % 4096:
            place = self.memory.find(MAGIC, place + 1)
        if place < 0:
            sys.exit("trace-alloc: the image keeps no record")
        self.place = place
        self.seen, self.allocations = 0, 0

    def wait(self, what, holds):
        end = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"trace-alloc: never: {what}\n" + open(self.log, errors="replace").read())
            time.sleep(0.05)

    def records(self, begin, end):
        at = self.place + 24
        return array.array("Q", self.memory[at + 8 * begin : at + 8 * end])

    def count(self):
        """Allocations recorded until now."""
        (made,) = struct.unpack_from("<Q", self.memory, self.place + 16)
        self.allocations += sum(1 for record in self.records(self.seen, made) if record < FREED)
        self.seen = made
        return self.allocations

    def end(self):
        self.process.kill()
        self.process.wait()


class Client:
    """A redis client that sends groups of commands at once."""

    def __init__(self, port):
        self.port = port
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)
        self.input = self.socket.makefile("rb")

    def run(self, commands):
        """Sends them all; those that a subsystem's death cuts short are lost, and another connection is made."""
        try:
            self.send(commands)
        except (ConnectionError, EOFError):
            print("trace-alloc: a connection was lost", file=sys.stderr, flush=True)
            self.connect()

    def send(self, commands):
        # Never more than a window's worth on the way: the replies are read in between.
        for start in range(0, len(commands), 32):
            group = commands[start : start + 32]
            self.socket.sendall(b"".join(map(encode, group)))
            for _ in group:
                self.reply()

    def reply(self):
        line = self.input.readline()
        if not line:
            raise EOFError
        if line[:1] == b"-":
            sys.exit(f"trace-alloc: {line}")
        if line[:1] == b"$" and line != b"$-1\r\n":
            self.input.read(int(line[1:]) + 2)

    def close(self):
        self.input.close()
        self.socket.close()


def encode(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Reader:
    """A client of HTTP that keeps its connection for some requests."""

    REQUESTS = 50

    def __init__(self, port):
        self.port = port
        self.connect()

    def connect(self):
        self.left = self.REQUESTS
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)
        self.input = self.socket.makefile("rb")

    def ask(self, path):
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: nos\r\n\r\n".encode())

    def read(self):
        """The answer, or nothing if the server has closed the connection before it: it may, between two requests."""
        try:
            status, length = self.input.readline(), 0
        except ConnectionResetError:
            status = b""
        if not status:
            return self.connect()
        if b" 200 " not in status:
            sys.exit(f"trace-alloc: {status}")
        while (line := self.input.readline().lower()) != b"\r\n":
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.input.read(length)
        self.left -= 1
        if self.left == 0:
            self.input.close()
            self.socket.close()
            self.connect()


class Load:
    def __init__(self, guest, seed):
        self.guest, self.random = guest, random.Random(seed)
        self.clients = [Client(guest.redis) for _ in range(4)]
        self.readers = []
        self.payload = self.random.randbytes(LARGE)

    def client(self):
        return self.random.choice(self.clients)

    def create(self, key):
        """A value with a block of its own: one of four comes over the wire, the others are made by their last byte."""
        size = self.random.randint(SMALL, LARGE)
        if self.random.random() < 0.25:
            return [b"SET", key, self.payload[:size]]
        return [b"SETRANGE", key, b"%d" % size, b"x"]

    def fill(self, count):
        self.client().run([self.create(b"kept:%d" % number) for number in range(count)])
        self.kept = count

    def replace(self, group):
        """Replaces values, a group of them at once."""
        commands = []
        for number in self.random.sample(range(self.kept), group):
            key = b"kept:%d" % number
            commands += [[b"DEL", key], self.create(key), [b"GETRANGE", key, b"0", b"%d" % self.random.randint(10, 5_000)]]
        self.client().run(commands)

    def steady(self):
        self.replace(self.random.randint(8, 32))

    def quiet(self):
        self.replace(self.random.randint(1, 8))
        if self.random.random() < 0.1:
            passing = Client(self.guest.redis)
            passing.run([[b"PING"], [b"GETRANGE", b"kept:0", b"0", b"9000"]])
            passing.close()

    def burst(self):
        count = self.random.randint(50, 600)
        keys = [b"burst:%d" % number for number in range(count)]
        client = self.client()
        client.run([self.create(key) for key in keys])
        self.random.shuffle(keys)
        client.run([[b"DEL", key] for key in keys])

    def burst_http(self):
        """Pages that are all asked for before the first is read, and what goes on meanwhile."""
        for _ in range(4):
            self.steady()
        while len(self.readers) < READERS:
            self.readers.append(Reader(self.guest.http))
        asked = self.random.sample(self.readers, self.random.randint(4, READERS))
        for reader in asked:
            (path,) = self.random.choices(["/metrics", "/memory", "/subsystems"], [2, 4, 4])
            reader.ask(path)
        for reader in asked:
            reader.read()


def main():
    image, seed, name = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="nos-trace.") as directory:
        guest = Guest(image, directory)
        try:
            load = Load(guest, int(seed))
            phases = []
            load.fill(400)
            for phase in PHASES:
                before = guest.count()
                phases.append((phase.replace("_", "-"), guest.seen))
                began = time.monotonic()
                while guest.count() - before < ALLOCATIONS:
                    for _ in range(5):
                        getattr(load, phase)()
                seconds = time.monotonic() - began
                print(f"trace-alloc: {phase}: {guest.allocations - before} allocations in {seconds:.0f} s", file=sys.stderr, flush=True)
            with open(name + ".bin", "wb") as file:
                guest.records(0, guest.seen).tofile(file)
            with open(name + ".phases", "w") as file:
                file.writelines(f"{phase} {first}\n" for phase, first in phases)
        finally:
            guest.end()


main()
