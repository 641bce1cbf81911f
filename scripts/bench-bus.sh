#!/bin/sh
# The bus, measured inside QEMU: guest instructions of sending, waking and receiving, of the switch between fibers,
# of requests and topics, on one CPU and across two, and of the same message through crossbeam's ArrayQueue
# and thingbuf's ThingBuf. A table on screen, target/bench/bus.json beside it. tests/guest/bench_bus.rs measures.
# Ends with 1 if a limit is missed. Settings: those of scripts/qemu-runner.sh.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

bench_log
status=0
# One CPU for what happens on one; two for what goes across. Instructions are counted under -icount alone.
for cpus in 1 2; do
    say "on $cpus CPU(s)"
    NOS_QEMU_SMP=$cpus NOS_QEMU_ARGS="-icount shift=0" NOS_TEST_TIMEOUT="${NOS_TEST_TIMEOUT:-300}" \
        cargo test --quiet --release --target aarch64-unknown-none --test bench_bus >>"$log" 2>&1 || status=1
done
bench_rows "$status"
bench_json bus "" "instructions instructions_dearest"

# The table: a line a case, the subjects beside each other.
printf '%s\n' "$rows" | awk '
    { if (!($1 in limit)) { order[++cases] = $1; limit[$1] = $5 }
      mean[$1, $2] = $3; most[$1, $2] = $4
      if ($5 != "-") limit[$1] = $5 }
    function of(subject) { return (c SUBSEP subject) in mean ? mean[c, subject] : "" }
    END {
        format = "%-26s %6s %8s %10s %9s  %-8s %s\n"
        printf format, "instructions, mean", "nos", "dearest", "crossbeam", "thingbuf", "limit", ""
        for (n = 1; n <= cases; n++) {
            c = order[n]
            verdict = limit[c] == "-" ? "" : mean[c, "nos"] <= limit[c] ? "met" : "MISSED"
            printf format, c, of("nos"), most[c, "nos"], of("crossbeam-ArrayQueue"), of("thingbuf-ThingBuf"), \
                limit[c] == "-" ? "" : "<= " limit[c], verdict
        }
    }'
say "written: $target/bench/bus.json"
exit $status
