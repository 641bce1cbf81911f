#!/bin/sh
# Runs the test stages named (host, harness, guest, image; all without a name), each under its heading, and
# ends with one line that sums up every stage: N passed, N failed. Stops at the first stage that fails.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

log=$(mktemp "${TMPDIR:-/tmp}/nos-test.XXXXXX")
# The process that builds images beside a stage, if there is one.
building=
trap '[ -z "$building" ] || kill "$building" 2>/dev/null || true; rm -f "$log" "$log.status" "$log.images"' EXIT

# summary: adds up what cargo's harness, the guest binaries and the image tests report.
summary() {
    tr -d '\r' <"$log" | awk '
        # A failed test of the harness quotes guests: each stage has its own kind of line.
        /^==> / { stage = $2; sub(":", "", stage) }
        /^test result:/ && stage != "image" { passed += $4; failed += $6 }
        /^nos-test: [0-9]+ passed, [0-9]+ failed$/ && stage == "guest" { passed += $2; failed += $4 }
        /^image: [0-9]+ passed, [0-9]+ failed$/ && stage == "image" { passed += $2; failed += $4 }
        # A guest that hung or died reports no count of its own.
        /^FAILED / && stage == "guest" { dead++ }
        END { printf("%d passed, %d failed\n", passed, (failed > dead) ? failed : dead) }'
}

# stage NAME HEADING COMMAND...: shows the output as it comes and keeps it to count from.
stage() {
    printf '\n==> %s: %s\n' "$1" "$2" | tee -a "$log"
    name=$1
    began=$(date +%s)
    shift 2
    { "$@" 2>&1 && echo 0 >"$log.status" || echo 1 >"$log.status"; } | tee -a "$log"
    printf '    %s: %s s\n' "$name" "$(($(date +%s) - began))"
    if [ "$(cat "$log.status")" != 0 ]; then
        printf '\n'
        summary
        exit 1
    fi
}

host() {
    cargo test --quiet --lib &&
        cargo test --quiet --locked --manifest-path scripts/tables/Cargo.toml --target-dir "$target/tables" &&
        { [ -z "${NOS_NIGHTLY:-}" ] || cargo test --quiet --lib -- --ignored cut_tests; } &&
        cargo test --quiet --test bench_anomaly &&
        # Thousands of seeds of the spine; what they did is shown.
        cargo test --quiet --test simulation -- --nocapture &&
        # Shown in full: file sizes and duplicated logic are there to be read.
        cargo test --quiet --test house_rules -- --nocapture --test-threads=1
}

guest() {
    # Binaries of tests/guest, one a topic; each ends by semihosting with its own exit code.
    cargo test --quiet --target aarch64-unknown-none --test 'guest_*' &&
        # Instructions of switches and messages: counted where that is exact, of the code as it ships.
        NOS_QEMU_SMP=1 NOS_QEMU_ARGS="-icount shift=0" \
            cargo test --quiet --release --target aarch64-unknown-none --test switch_cost --test bench_bus &&
        NOS_QEMU_SMP=2 NOS_QEMU_ARGS="-icount shift=0" \
            cargo test --quiet --release --target aarch64-unknown-none --test bench_bus &&
        scripts/bench-alloc.sh check &&
        # It idles in between: without sleep=off, the host's time would count.
        NOS_QEMU_SMP=1 NOS_QEMU_ARGS="-icount shift=0,sleep=off" \
            cargo test --quiet --release --target aarch64-unknown-none --test preemption_cost
}

# All images before any test: a test waits for a boot, not for a build. Those that are never shipped are built in less time.
images() {
    scripts/image.sh && PROFILE=functional APP=hello scripts/image.sh
}

# images_meanwhile: builds them beside what mostly waits for guests; images_built waits for that, and tells how it went.
images_meanwhile() {
    { images && echo 0 || echo 1; } >"$log.images" 2>&1 &
    building=$!
}
images_built() {
    if [ -z "$building" ]; then
        images
        return
    fi
    wait "$building" || true
    building=
    sed '$d' "$log.images"
    [ "$(tail -n 1 "$log.images")" = 0 ] || die "the images were not built"
}
# A thousand connections at once are a thousand files, for a client and for QEMU.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

[ $# -gt 0 ] || set -- host harness guest image
for stage; do
    case $stage in
        host) stage host "plain Rust, the simulated spine, the house rules" host ;;
        harness)
            case " $* " in *" image "*) images_meanwhile ;; esac
            stage harness "the runner of the guest tests" cargo test --quiet --test harness
            ;;
        guest) stage guest "inside QEMU, one binary a topic" guest ;;
        image)
            images_built
            stage image "the whole image, with real clients" cargo test --quiet --test image
            ;;
        *) die "no stage $stage: host, harness, guest, image" ;;
    esac
done
printf '\n'
summary
