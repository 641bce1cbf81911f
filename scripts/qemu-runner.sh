#!/bin/sh
# Cargo's runner for the guest target: boots one test binary under QEMU and ends with its exit code.
#   qemu-runner.sh ELF [ARG...]      the arguments reach the guest by semihosting (SYS_GET_CMDLINE)
# A test binary prints `nos-test: N passed, M failed` as its last line and exits by semihosting with 0 only
# if N > 0 and M = 0. Whatever else happens is a failure, and is named: a hang (NOS_TEST_TIMEOUT seconds, 60),
# an end without that line, a line that disagrees with the exit code, a binary that runs no test.
# Variations: NOS_QEMU_MACHINE NOS_QEMU_CPU NOS_QEMU_SMP NOS_QEMU_MEM NOS_QEMU_ARGS.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

elf=$1
shift
# `cargo run` comes here as well: the image itself is not a test.
case $elf in
    */deps/*) ;;
    *) IMAGE=$elf exec "$root/scripts/run.sh" ;;
esac

name=$(basename "$elf" | sed 's/-[0-9a-f]*$//')
limit=${NOS_TEST_TIMEOUT:-60}
dir=$(mktemp -d "${TMPDIR:-/tmp}/nos-test.XXXXXX")
semihosting=enable=on,target=native,arg=$name
for argument; do semihosting=$semihosting,arg=$argument; done

# Always TCG: semihosting and instruction counts are dependable only there.
# shellcheck disable=SC2086 # NOS_QEMU_ARGS is split on purpose
qemu-system-aarch64 -M "${NOS_QEMU_MACHINE:-virt}" -accel tcg -cpu "${NOS_QEMU_CPU:-cortex-a72}" \
    -smp "${NOS_QEMU_SMP:-2}" -m "${NOS_QEMU_MEM:-128M}" -nodefaults -display none -monitor none \
    -no-reboot -serial stdio -global virtio-mmio.force-legacy=false \
    -semihosting-config "$semihosting" ${NOS_QEMU_ARGS:-} -kernel "$elf" \
    </dev/null >"$dir/log" 2>&1 &
qemu=$!
# macOS has no timeout(1).
(
    sleep "$limit" &
    nap=$!
    trap 'kill $nap; exit' TERM
    wait $nap
    : >"$dir/hung"
    kill -KILL $qemu
) >/dev/null 2>&1 &
watch=$!
trap 'rm -rf "$dir"' EXIT
trap 'kill -KILL $qemu; kill -TERM $watch; exit 130' INT TERM
status=0
wait $qemu || status=$?
kill -TERM $watch 2>/dev/null || true
wait $watch 2>/dev/null || true

cat "$dir/log"
# The serial line ends its lines with CR LF.
verdict=$(tr -d '\r' <"$dir/log" | sed -n 's/^nos-test: \([0-9]* passed, [0-9]* failed\)$/\1/p' | tail -n 1)

fail() {
    echo "FAILED $name: $1"
    # Never 0, and a guest's own code where it has one.
    [ "$status" != 0 ] || status=1
    exit "$status"
}
[ ! -e "$dir/hung" ] || fail "hung: ended after $limit s"
[ -n "$verdict" ] || fail "ended with status $status without saying how many tests passed"
[ "$status" = 0 ] || fail "$verdict, status $status"
case $verdict in
    "0 passed, "*) fail "ran no test" ;;
    *" passed, 0 failed") ;;
    *) fail "$verdict, but status 0" ;;
esac
