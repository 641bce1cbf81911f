#!/bin/sh
# What a loop in another subsystem costs the data plane's clients, measured inside QEMU on one CPU: guest instructions
# from the network device's interrupt to the kick that tells it of the answer, with the other fiber parked, with one
# that computes for ever and with one that allocates for ever. A table on screen, target/bench/preemption.json beside
# it. tests/guest/preemption_cost.rs measures, and holds the limit: at most 20 % more at the 99th percentile.
# Ends with 1 if it is missed. Settings: those of scripts/qemu-runner.sh.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

bench_log
status=0
NOS_QEMU_SMP=1 NOS_QEMU_ARGS="-icount shift=0,sleep=off" NOS_TEST_TIMEOUT="${NOS_TEST_TIMEOUT:-300}" \
    cargo test --quiet --release --target aarch64-unknown-none --test preemption_cost >"$log" 2>&1 || status=1
bench_rows "$status"
bench_json preemption other-fiber- "instructions_p50 instructions_p99 instructions_dearest"

printf '%s\n' "$rows" | awk '
    BEGIN { format = "%-20s %-12s %8s %8s %8s  %s\n"; printf format, "instructions", "other fiber", "p50", "p99", "dearest", "p99 to parked" }
    $2 == "parked" { parked[$1] = $4 }
    { printf format, $1, $2, $3, $4, $5, sprintf("%+.1f %%", 100 * ($4 / parked[$1] - 1)) }'
say "written: $target/bench/preemption.json"
exit $status
