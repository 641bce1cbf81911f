#!/bin/sh
# Records which blocks of frames the image is asked for under a load that changes, and plays them again on the host:
# how often the page caches miss and how many pages they hold, with fixed sizes and with those that they choose. Ends with 1
# if theirs miss more than four fifths as often or hold more, or hold a twentieth a second after pressure.
#   trace-alloc.sh [SEED]      1 by default; the load is scripts/trace_alloc.py
# The image has the feature alloc-trace and runs under -icount with two CPUs. Leaves target/alloc-trace-SEED.bin and
# .phases for another replay: NOS_ALLOC_TRACE=FILE cargo test --profile functional --lib replay -- --ignored --nocapture
# Settings: REUSE=1 plays what lies there, without a boot; ALLOCATIONS=100000 in a phase, at least; PHASES, those
# of scripts/trace_alloc.py by their names.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

seed=${1:-${SEED:-1}}
case $seed in *[!0-9]*) die "usage: trace-alloc.sh [SEED]" ;; esac
mkdir -p "$target"
trace=$(cd "$target" && pwd)/alloc-trace-$seed
if [ -z "${REUSE:-}" ] || [ ! -s "$trace.bin" ]; then
    PROFILE=functional FEATURES=alloc-trace scripts/image.sh
    python3 scripts/trace_alloc.py "$target/functional/nos+alloc-trace.img" "$seed" "$trace"
fi
NOS_ALLOC_TRACE=$trace.bin cargo test --quiet --profile functional --lib replay -- --ignored --nocapture
