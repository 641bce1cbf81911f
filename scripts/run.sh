#!/bin/sh
# Boots an image under QEMU in the foreground; the serial line is this terminal, Ctrl-A X ends it.
# Settings, as make variables or in the environment:
#   SMP=1              CPUs
#   MEM=512M           memory
#   REDIS_PORT=6379    where the cache answers on 127.0.0.1
#   HTTP_PORT=9100     where the dashboard and /metrics answer on 127.0.0.1
#   NET=user           user, passt, tap:IFNAME or none
#   NIC=virtio-net-device    the network device; on PCI: virtio-net-pci,romfile=
#   DISK=              a raw disk image to attach by virtio-blk
#   APPEND=            more boot arguments (nos.KEY=VALUE ...)
#   APP=nos WITHOUT=   which image: its application, and what it is built without (scripts/image.sh)
#   IMAGE=             boots that file instead
#   LINE_TABLE=        its table of lines; by default what image.sh made with it, from 32 MiB of memory on; none for none
#   CPU= ACCEL=        QEMU's -cpu and -accel; by default the fastest this machine has
#   QEMU_EXTRA=        more words for QEMU's command line
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

smp=${SMP:-1}
redis_port=${REDIS_PORT:-6379}
http_port=${HTTP_PORT:-9100}
image=${IMAGE:-$images/$(image_name).img}

# --- the machine -----------------------------------------------------------------------------------------

accelerator() {
    if [ "$(uname -s)/$(uname -m)" = Darwin/arm64 ]; then
        echo hvf
    elif [ "$(uname -s)/$(uname -m)" = Linux/aarch64 ] && [ -w /dev/kvm ]; then
        echo kvm
    else
        echo tcg
    fi
}

machine() {
    accel=${ACCEL:-$(accelerator)}
    case $accel in
        # A server's own interrupt controller is often a GICv3 without v2 emulation.
        kvm*) echo "-M virt,gic-version=host -accel $accel -cpu ${CPU:-host}" ;;
        hvf*) echo "-M virt -accel $accel -cpu ${CPU:-host}" ;;
        # A semihosting call would let the guest open host files: it is never switched on here.
        *) echo "-M virt -accel $accel -cpu ${CPU:-cortex-a72}" ;;
    esac
    case $accel/$smp in
        # With one CPU and no more to come, TCG drops the guest's memory barriers, though virtio devices
        # run in another thread; room for a second keeps them.
        tcg*/1) echo "-smp 1,maxcpus=2" ;;
        *) echo "-smp $smp" ;;
    esac
}

# --- the network -----------------------------------------------------------------------------------------

# taken PORT: does anything listen on 127.0.0.1:PORT already? Read from the system's own tables.
taken() {
    if [ -r /proc/net/tcp ]; then
        # Column 2 is ADDRESS:PORT in hexadecimal, column 4 the state, 0A = LISTEN.
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
            grep -Eqi "^ *[0-9]+: (0100007F|0+|0000000000000000FFFF00000100007F):$(printf '%04X' "$1") [0-9A-F:]+ 0A "
    else
        netstat -an -p tcp 2>/dev/null | grep LISTEN | grep -Eq "(127\.0\.0\.1|\*)\.$1 "
    fi
}

free_or_die() {
    case $2 in '' | *[!0-9]*) die "$1=$2 is not a port number" ;; esac
    if taken "$2"; then
        die "port $2 is taken on 127.0.0.1; choose another: make run $1=PORT"
    fi
}

# Starts passt for one QEMU. Not the default: a passt of before 2023-11 clamps the client's window, and after some
# megabytes on one connection each further 8 KiB takes a fifth of a second (seen with Debian 12's).
# passt ends with the QEMU it served; the watcher ends it where that QEMU never came up, and clears up after
# both. $$ is QEMU's process too: this script becomes QEMU at its end.
start_passt() {
    have passt || die "NET=passt: there is no passt here"
    # /tmp, not TMPDIR: passt's AppArmor profile lets it make its socket there.
    run=$(mktemp -d /tmp/nos-run.XXXXXX)
    # As root, passt becomes nobody before it makes its socket.
    [ "$(id -u)" != 0 ] || chown nobody "$run"
    (
        # Ctrl-C and a closed terminal end QEMU; this has to outlive it by a moment.
        trap '' INT HUP
        # -i lo, -M: no address, route or name server of this host is looked at or needed.
        passt -q -f -1 -4 -s "$run/socket" -i lo -M 52:54:00:12:34:02 -a 10.0.2.15 -n 24 -g 10.0.2.2 \
            -D none -S none -u none -t "127.0.0.1/$redis_port:6379" -t "127.0.0.1/$http_port:9100" &
        passt=$!
        trap 'kill $passt || true; rm -rf "$run"; exit' TERM
        while kill -0 $$ && kill -0 $passt; do sleep 1; done
        kill $passt || true
        rm -rf "$run"
    ) >"$run/log" 2>&1 </dev/null &
    tries=0
    until [ -S "$run/socket" ]; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ] || ! kill -0 $! 2>/dev/null; then
            kill $! 2>/dev/null || true
            wait $! || true
            die "NET=passt: passt did not start"
        fi
        sleep 0.05
    done
}

# Has user networking take many connections at once: the library goes into QEMU's process and no other.
raise_backlog() {
    library=$root/target/listen_backlog.so
    if [ "$(uname -s)" = Linux ] && [ ! -e "$library" ]; then
        mkdir -p "$root/target"
        # Under a name of its own first: others may be doing the same.
        cc -shared -fPIC -O1 -o "$library.$$" "$root/scripts/listen_backlog.c" 2>/dev/null &&
            mv "$library.$$" "$library"
    fi
    if [ -e "$library" ]; then
        preload="env LD_PRELOAD=$library"
    else
        say "user networking as it comes: many connections at once wait in line"
    fi
}

network() {
    case ${NET:-} in
        none)
            return
            ;;
        tap:?*)
            netdev="-netdev tap,id=n0,ifname=${NET#tap:},script=no,downscript=no"
            ;;
        '' | user | passt)
            free_or_die REDIS_PORT "$redis_port"
            free_or_die HTTP_PORT "$http_port"
            if [ "${NET:-}" = passt ]; then
                start_passt
                netdev="-netdev stream,id=n0,server=off,addr.type=unix,addr.path=$run/socket"
            else
                raise_backlog
                ports="hostfwd=tcp:127.0.0.1:$redis_port-:6379,hostfwd=tcp:127.0.0.1:$http_port-:9100"
                netdev="-netdev user,id=n0,$ports"
            fi
            ;;
        *)
            die "NET=$NET: user, passt, tap:IFNAME or none"
            ;;
    esac
    netdev="$netdev -device ${NIC:-virtio-net-device},netdev=n0,mac=52:54:00:12:34:56"
}

# ---------------------------------------------------------------------------------------------------------

have qemu-system-aarch64 || die "qemu-system-aarch64 is not there; type: scripts/setup.sh run"
[ -e "$image" ] || { [ -z "${IMAGE:-}" ] && "$root/scripts/image.sh"; } || die "no image $image"
disk=
if [ -n "${DISK:-}" ]; then
    [ -r "$DISK" ] || die "DISK=$DISK: no such file; make one: truncate -s 64M $DISK"
    disk="-drive file=$DISK,if=none,id=d0,format=raw -device virtio-blk-device,drive=d0"
fi
# mebibytes SIZE: QEMU's -m in MiB.
mebibytes() {
    case $1 in
        *[Gg]) echo $((${1%?} * 1024)) ;;
        *[Mm]) echo "${1%?}" ;;
        *[Kk]) echo $((${1%?} / 1024)) ;;
        *) echo "$1" ;;
    esac
}
# On a small machine a backtrace without lines is better than keys without room.
lines=${LINE_TABLE:-${image%.*}.lines}
if [ "$lines" = none ] || [ ! -e "$lines" ] || [ "$(mebibytes "${MEM:-512M}")" -lt 32 ]; then
    lines=
fi
netdev=
preload=
network

# One word an argument from here on; what users hand in (QEMU_EXTRA, DISK) is split at spaces as well.
# The panic device makes a crash QEMU's failing exit status, without semihosting.
# shellcheck disable=SC2046,SC2086
exec $preload qemu-system-aarch64 $(machine) -m "${MEM:-512M}" -nodefaults -display none -serial mon:stdio \
    -global virtio-mmio.force-legacy=false $netdev $disk \
    -device pvpanic-pci -action panic=exit-failure \
    -kernel "$image" ${lines:+-initrd "$lines"} -append "nos.on-panic=exit ${APPEND:-}" ${QEMU_EXTRA:-}
