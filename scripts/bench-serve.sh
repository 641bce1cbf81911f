#!/bin/sh
# Serving, measured from outside: operations a second and guest instructions per operation, per request, per
# scrape, per idle second and per boot; size and memory. A table on screen, target/bench/serve.json beside it.
# Settings, in the environment or as make variables (make bench-serve QUICK=1 ...):
#   QUICK=1            a few minutes' worth: small N, one round, a short idle time
#   N=20000            operations a case at pipeline 1; five times as many at pipeline 16
#   ROUNDS=3           times each rate, each instruction count of a load and each boot is taken; the median counts
#   ONLY=              some parts alone: instructions rates boot http idle memory (default all)
#   INSN_COUNT=FILE    a QEMU TCG plugin that counts guest instructions: loaded as -plugin FILE,out=COUNTS, and
#                      COUNTS an array of little-endian 64-bit sums, one a CPU, current while the guest runs.
#                      Without it the rows that count instructions are left out.
#   PEER=DIR           a Linux guest with redis-server to measure in the same run, in turns with nos: a directory
#                      with build.sh and a run.sh that boots it and prints QEMU's pid (settings NET TAPIF IPADDR GW
#                      PORT MPORT XPORT MEM INITRD PLUGIN CNT SERIAL WORK, as scripts/bench_serve.py sets them)
#   WORK=DIR           where the peer was built (default DIR's own)
#   IMAGE=FILE         measures that image, not the one this tree builds
#   APPEND=            more boot arguments (nos.KEY=VALUE ...)
#   NET=tap|user       default tap, in a network namespace of its own that ends with this run, where that is
#                      allowed (root, or user namespaces); else as `make run` forwards ports
#   BENCH_LOCK=FILE    held by flock(2) during each measurement, where several share a machine
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ -z "${INSN_COUNT:-}" ] || [ -r "$INSN_COUNT" ] || die "INSN_COUNT=$INSN_COUNT: no such file"
[ -z "${PEER:-}" ] || [ -x "$PEER/run.sh" ] || die "PEER=$PEER: no run.sh there"
for needed in qemu-system-aarch64 redis-benchmark python3; do
    have $needed || die "$needed is not there; type: scripts/setup.sh test"
done
if [ -z "${IMAGE:-}" ]; then
    "$root/scripts/image.sh"
    IMAGE=$target/nos.img
fi
export IMAGE
mkdir -p "$target/bench"
set -- python3 "$root/scripts/bench_serve.py" "$target/bench/serve.json"

# The guests' links: nos on tap0 and the peer on tap1, with neighbour entries that never ask. A lost first
# ARP would round the boot time up to a second.
# shellcheck disable=SC2016 # expanded by the shell in the namespace
links='ip link set lo up
    for n in 0 1; do
        ip tuntap add dev tap$n mode tap
        ip addr add 10.0.$((n + 2)).2/24 dev tap$n
        ip link set tap$n up
        ip neigh replace 10.0.$((n + 2)).15 lladdr 52:54:00:12:34:56 dev tap$n nud permanent
    done'
# namespace COMMAND...: runs it where there is no network but the two links.
namespace() {
    if [ "$(id -u)" = 0 ]; then unshare -n "$@"; else unshare -r -n "$@"; fi
}

if [ "${NET:-tap}" = tap ]; then
    if have unshare && have ip && why=$(namespace sh -ec "$links" 2>&1); then
        export NET=tap
        namespace sh -ec "$links"' ; exec "$@"' sh "$@"
        exit
    fi
    say "no tap in a network namespace here (${why:-needs unshare and ip}): ports are forwarded, as in make run"
fi
[ "${NET:-tap}" = tap ] || [ "$NET" = user ] || die "NET=$NET: tap or user"
NET=user exec "$@"
