#!/bin/sh
# Installs what is missing, and says what it installs; does nothing where all is there.
#   setup.sh run     what `make run` needs: QEMU, a C compiler (for its linker), the Rust toolchain
#   setup.sh test    that, and the clients and tools that `make test` drives the image with
# Debian and its relatives by apt, macOS by brew. Where it may not install, it names the command to type.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# The client libraries whose behaviour the tests pin down.
REDIS_PY=8.1.0
IOREDIS=6.0.0

case ${1:-run} in
    run | test) wanted=${1:-run} ;;
    *) die "usage: setup.sh run|test" ;;
esac

# --- system packages ------------------------------------------------------------------------------------

missing=
# need COMMAND DEBIAN-PACKAGE BREW-PACKAGE: notes the package when the command is not there.
need() {
    have "$1" && return
    case $(uname -s) in
        Darwin) package=$3 ;;
        *) package=$2 ;;
    esac
    case "$missing " in
        *" $package "*) ;;
        *) missing="$missing $package" ;;
    esac
}

# Can we run commands as root: as we are, or through sudo where that can ask or need not ask?
may_be_root() {
    [ "$(id -u)" = 0 ] || { have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    may_be_root || die "not there, and you may not install it; type this as root, then try again:
    apt-get update && apt-get install -y$missing"
    # shellcheck disable=SC2086 # package names, split on purpose
    set -- env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $1
    say "installing:$missing (apt-get install)"
    # A machine that cannot reach its mirror may still have the package in its cache: apt-get install decides.
    as_root apt-get update -q >"$log" 2>&1 || true
    as_root "$@" >>"$log" 2>&1 </dev/null || {
        tail -n 5 "$log" >&2
        die "could not install; type this as root, then try again:
    apt-get update && apt-get install -y$missing"
    }
}

packages() {
    [ -n "$missing" ] || return 0
    if have apt-get; then
        apt_install "$missing"
    elif have brew; then
        say "installing: brew install$missing"
        # shellcheck disable=SC2086 # package names, split on purpose
        brew install --quiet $missing >&2 || die "could not install; type: brew install$missing"
    elif [ "$(uname -s)" = Darwin ]; then
        die "needs Homebrew (https://brew.sh), then type: brew install$missing"
    else
        die "knows apt and brew only; install with your package manager what Debian calls:$missing"
    fi
    missing=
}

# --- the Rust toolchain ----------------------------------------------------------------------------------

# toolchain KEY: the value of KEY in rust-toolchain.toml, a list as words.
toolchain() { sed -n "s/^$1 *= *//p" "$root/rust-toolchain.toml" | tr -d '"[]' | tr ',' ' '; }

rustup_itself() {
    have rustup && return
    # Without root, rustup's own way still works: it stays in the home directory.
    if may_be_root && have apt-cache && apt-cache show rustup >/dev/null 2>&1; then
        missing=" rustup"
        packages
    elif have brew; then
        missing=" rustup"
        packages
        PATH=$PATH:$(brew --prefix rustup)/bin
    else
        say "installing: rustup, from https://sh.rustup.rs into ${CARGO_HOME:-$HOME/.cargo}"
        { curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$log.rustup" &&
            sh "$log.rustup" -y -q --profile minimal --default-toolchain none --no-modify-path; } >"$log" 2>&1 ||
            die "could not install rustup; type this, then try again:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    fi
}

rust() {
    rustup_itself
    channel=$(toolchain channel)
    # Asked of rustup's directories and not of rustc: ten times as fast, and it never downloads.
    for home in "${RUSTUP_HOME:-$HOME/.rustup}"/toolchains/"$channel"-*; do
        if [ -d "$home/lib/rustlib/aarch64-unknown-none" ] && [ -x "$home/bin/cargo-clippy" ] &&
            [ -x "$home/bin/rustfmt" ] && ls "$home"/lib/rustlib/*/bin/llvm-objcopy >/dev/null 2>&1; then
            return
        fi
    done
    say "installing: Rust $channel with $(toolchain components) for $(toolchain targets)"
    # shellcheck disable=SC2046 # one option a word, on purpose
    rustup toolchain install "$channel" --profile "$(toolchain profile)" \
        $(for c in $(toolchain components); do echo "--component $c"; done) \
        $(for t in $(toolchain targets); do echo "--target $t"; done) >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        die "could not install the toolchain; type this in $root, then try again:
    rustup toolchain install $channel"
    }
}

# --- what only tests need --------------------------------------------------------------------------------

# unpack PACKAGE PROGRAM...: Debian's package of a service would start it; unpacked by hand it is programs and no more.
unpack() {
    package=$1
    shift
    say "unpacking Debian's $package into $test_tools (no service is started)"
    (
        cd "$test_tools"
        apt-get download -q "$package" || { may_be_root && as_root apt-get update -q && apt-get download -q "$package"; }
        dpkg -x "$package"_*.deb "$package"
        rm -f "$package"_*.deb
        for program; do ln -sf "../$package/usr/bin/$program" bin/; done
    ) >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        die "could not fetch $package; type this as root, then try again: apt-get update"
    }
}

# there PROGRAM: on PATH, or unpacked before.
there() {
    have "$1" || [ -x "$test_tools/bin/$1" ]
}

prometheus() {
    mkdir -p "$test_tools/bin"
    there promtool && there prometheus && return
    if have apt-get; then
        unpack prometheus prometheus promtool
    else
        missing=" prometheus"
        packages
    fi
}

redis_exporter() {
    there prometheus-redis-exporter && return
    if have apt-get; then
        unpack prometheus-redis-exporter prometheus-redis-exporter
    else
        say "no package of prometheus-redis-exporter is known here; its test asks for it under that name on PATH"
    fi
}

# Debian keeps the redis-server program in redis-tools, under another name, and has only the service in
# redis-server; the program is what tests compare with.
redis_server() {
    if have redis-server || [ -x "$test_tools/bin/redis-server" ]; then
        return
    fi
    ln -sf "$(command -v redis-check-rdb)" "$test_tools/bin/redis-server"
}

redis_py() {
    [ -e "$test_tools/venv/redis-$REDIS_PY" ] && return
    say "installing: redis-py $REDIS_PY into $test_tools/venv"
    {
        python3 -m venv "$test_tools/venv" &&
            "$test_tools/venv/bin/pip" install -q --disable-pip-version-check "redis==$REDIS_PY"
    } >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        die "could not install redis-py; type this in $root, then try again:
    python3 -m venv $test_tools/venv && $test_tools/venv/bin/pip install redis==$REDIS_PY"
    }
    : >"$test_tools/venv/redis-$REDIS_PY"
}

ioredis() {
    installed=$test_tools/node_modules/ioredis/package.json
    grep -q "\"version\": \"$IOREDIS\"" "$installed" 2>/dev/null && return
    say "installing: ioredis $IOREDIS into $test_tools/node_modules"
    npm install --silent --no-audit --no-fund --prefix "$test_tools" "ioredis@$IOREDIS" >"$log" 2>&1 </dev/null || {
        tail -n 5 "$log" >&2
        die "could not install ioredis; type this in $root, then try again:
    npm install --prefix $test_tools ioredis@$IOREDIS"
    }
}

# ---------------------------------------------------------------------------------------------------------

mkdir -p "$root/target"
log=$(mktemp "${TMPDIR:-/tmp}/nos-setup.XXXXXX")
trap 'rm -f "$log" "$log.rustup"' EXIT

need qemu-system-aarch64 qemu-system-arm qemu
need cc "gcc libc6-dev" gcc # cargo links build scripts and host tests with it
need curl "curl ca-certificates" curl
if [ "$wanted" = test ]; then
    need redis-cli redis-tools redis
    need redis-benchmark redis-tools redis
    need python3 python3 python3
    need node nodejs node
    need npm npm node
    [ -e "$test_tools/venv/redis-$REDIS_PY" ] || python3 -c 'import ensurepip' 2>/dev/null ||
        missing="$missing python3-venv"
fi
packages
rust
if [ "$wanted" = test ]; then
    prometheus
    redis_exporter
    redis_server
    redis_py
    ioredis
fi
