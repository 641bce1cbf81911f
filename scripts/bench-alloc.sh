#!/bin/sh
# The memory manager, measured inside QEMU: guest instructions of allocating and freeing frames and heap objects, and of the
# same workloads with other allocators in the same run, on a machine of 256 MiB; then the frames alone with more
# memory; and two threads on this host, writes to lines that they share and their CPU time. A table on screen, target/bench/alloc.json beside it. tests/guest/bench_alloc.rs measures, on one CPU under -icount.
# Ends with 1 if a limit is missed, if counts differ with the size of memory, or if one is more than 2 % above its
# baseline in benches/alloc-baseline.txt.
#   bench-alloc.sh             all of it
#   bench-alloc.sh baseline    nos alone with 256 MiB, whose counts become the baseline
#   bench-alloc.sh check       the same, held to the baseline alone: quick, for CI
# Settings: SIZES, the machines' memory beside 256M ("4G 17G"); those of scripts/qemu-runner.sh.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

mode=${1:-all}
baseline=benches/alloc-baseline.txt
sizes=${SIZES-4G 17G}
# Per cent that a count may rise above the baseline, and that it may differ between sizes of memory.
rise_max=2
flat_max=5

# measure MEMORY WORD...: runs the benchmark on such a machine; cases get a suffix there but for 256M.
measure() {
    memory=$1
    shift
    say "with $memory: $*"
    NOS_QEMU_SMP=1 NOS_QEMU_MEM=$memory NOS_QEMU_ARGS="-icount shift=0" NOS_TEST_TIMEOUT="${NOS_TEST_TIMEOUT:-900}" \
        cargo test --quiet --release --target aarch64-unknown-none --test bench_alloc -- "$@" >"$log.run" 2>&1 || status=1
    [ "$memory" = 256M ] && suffix= || suffix=-$memory
    tr -d '\r' <"$log.run" | sed "s/^row \([^ ]*\)/row \1$suffix/" >>"$log"
}

bench_log
status=0
case $mode in
    all)
        measure 256M frames heap peers
        for size in $sizes; do measure "$size" frames; done
        ;;
    baseline | check) measure 256M frames heap ;;
    *) die "usage: bench-alloc.sh [baseline|check]" ;;
esac
bench_rows "$status"
rm -f "$log.run"
bench_json alloc "" ""

# Of every count of nos: its limit, its baseline, and what it is with other sizes of memory.
[ -e "$baseline" ] || : >"$baseline"
verdicts() {
    printf '%s\n' "$rows" | awk -v rise="$rise_max" -v flat="$flat_max" -v mode="$mode" -v baseline="$baseline" '
        FILENAME == baseline { if ($0 !~ /^#/) before[$1, $2, $3] = $4; next }
        { value[$1, $2, $3] = $4 }
        mode != "check" && $5 != "-" && $4 + 0 > $5 { print "MISSED: " $1, $2, $3, $4, "above", $5 }
        mode != "baseline" && ($1, $2, $3) in before && $4 > before[$1, $2, $3] * (1 + rise / 100) {
            print "ROSE: " $1, $2, $3, $4, "from", before[$1, $2, $3]
        }
        $2 == "nos" && $3 == "instructions_per_pair" && $1 ~ /-[0-9]+G$/ {
            small = $1; sub(/-[0-9]+G$/, "", small); small = value[small, $2, $3]
            if (small != "" && ($4 > small * (1 + flat / 100) || $4 < small / (1 + flat / 100)))
                print "NOT FLAT: " $1, $4, "against", small
        }
        END {
            if (mode == "check") for (key in before) if (!(key in value)) {
                split(key, part, SUBSEP); print "GONE: " part[1], part[2], part[3]
            }
        }' "$baseline" -
}

# The table: a line a case, the subjects beside each other; and again as percentages of the buddy heap.
table() {
    printf '%s\n' "$rows" | awk -v percent="$1" '
        $3 == "instructions_per_pair" || $1 ~ /^dearest/ || $3 == "percent_spanned_of_live" {
            name = $1 ($3 == "percent_spanned_of_live" ? "-span-%" : "")
            if (!(name in limit)) { order[++cases] = name; limit[name] = "-" }
            if ($5 != "-") limit[name] = $5
            value[name, $2] = $4
        }
        function show(name, subject, base) {
            if (!((name, subject) in value)) return ""
            base = value[name, "buddy-heap"]
            if (!percent) return value[name, subject]
            return base ? sprintf("%.1f %%", 100 * value[name, subject] / base) : ""
        }
        END {
            count = split("nos nos-kernel buddy-heap buddy-frames talc dlmalloc rlsf", subject, " ")
            printf "%-20s", percent ? "of the buddy heap" : "instructions, pair"
            for (n = 1; n <= count; n++) printf "%13s", subject[n]
            print percent ? "" : "   limit"
            for (c = 1; c <= cases; c++) {
                name = order[c]
                if (percent && !((name, "buddy-heap") in value)) continue
                printf "%-20s", name
                for (n = 1; n <= count; n++) printf "%13s", show(name, subject[n])
                print percent || limit[name] == "-" ? "" : "   <= " limit[name]
            }
        }'
}
table 0
if [ "$mode" = all ]; then
    echo
    table 1
    say "two threads on this host"
    cargo test --quiet --profile functional --lib two_cpus_hardly -- --nocapture >"$log" 2>&1 || status=1
    grep 'operations,' "$log" || cat "$log"
fi
found=$(verdicts)
if [ "$mode" = baseline ]; then
    {
        echo "# Guest instructions of the memory manager, as scripts/bench-alloc.sh counts them with 256 MiB: what CI compares with."
        echo "# Updated by make bench-alloc-baseline."
        printf '%s\n' "$rows" | awk '$1 == "dearest" || $3 ~ /^instructions_per_pair$|^percent/ { print $1, $2, $3, $4 }'
    } >"$baseline"
    say "written: $baseline"
fi
if [ -n "$found" ]; then
    printf '%s\n' "$found"
    status=1
fi
say "written: $target/bench/alloc.json"
exit $status
