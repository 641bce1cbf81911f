#!/bin/sh
# Runs each fuzz target for FUZZ_SECONDS (60), or those named: fuzz.sh [TARGET...]. Needs a nightly toolchain and
# cargo-fuzz, and installs what is missing. What it finds stays in fuzz/artifacts, what it learned in fuzz/corpus.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

FUZZ_TOOLCHAIN=nightly
seconds=${FUZZ_SECONDS:-60}

cargo "+$FUZZ_TOOLCHAIN" --version >/dev/null 2>&1 || {
    say "installing: Rust $FUZZ_TOOLCHAIN"
    rustup toolchain install "$FUZZ_TOOLCHAIN" --profile minimal ||
        die "could not install it; type: rustup toolchain install $FUZZ_TOOLCHAIN"
}
cargo fuzz --version >/dev/null 2>&1 || {
    say "installing: cargo-fuzz"
    cargo "+$FUZZ_TOOLCHAIN" install --quiet --locked cargo-fuzz ||
        die "could not install it; type: cargo install cargo-fuzz"
}

# A fuzzer learns little from nothing: each target begins with something that is well formed.
seeds() {
    mkdir -p fuzz/corpus/device_tree fuzz/corpus/boot_arguments fuzz/corpus/resp fuzz/corpus/http_request \
        fuzz/corpus/frame fuzz/corpus/memory
    printf '\300\012\000\003\012\000\015\001\005\000\017\100\014\000' >fuzz/corpus/memory/seed
    printf 'nos.ip=10.0.0.2/24,10.0.0.1 nos.maxmemory=64mb nos.maxmemory-policy=allkeys-lru nos.timeout=7' \
        >fuzz/corpus/boot_arguments/seed
    printf '\005*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\nGET k\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\nHELLO 3\r\nINFO\r\n' \
        >fuzz/corpus/resp/seed
    printf '\007GET / HTTP/1.1\r\nHost: x\r\n\r\nHEAD /nowhere HTTP/1.0\r\n\r\n' >fuzz/corpus/http_request/seed
    python3 scripts/fuzz_seeds.py fuzz/corpus
    # The tree that QEMU makes, without the room behind it.
    if have qemu-system-aarch64; then
        dumped=$(mktemp "${TMPDIR:-/tmp}/nos-fuzz.XXXXXX")
        qemu-system-aarch64 -M "virt,dumpdtb=$dumped" -cpu cortex-a72 -m 64M -nodefaults -display none 2>/dev/null
        python3 scripts/fuzz_seeds.py fuzz/corpus "$dumped"
        rm -f "$dumped"
    fi
}

seeds
# A cache server leaks its hash seed, as it may once a boot. That it gives back its frames, the targets check.
export ASAN_OPTIONS=detect_leaks=0
[ $# -gt 0 ] || set -- device_tree boot_arguments resp http_request frame memory
for fuzzed; do
    # An input takes milliseconds; the rest of its minute is for a busy host.
    say "$fuzzed, $seconds s"
    cargo "+$FUZZ_TOOLCHAIN" fuzz run "$fuzzed" -- -max_total_time="$seconds" -max_len=16384 -timeout=60 \
        -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0
done
