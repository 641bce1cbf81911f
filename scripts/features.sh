#!/bin/sh
# The image without each of its optional parts, and without all of them: clippy has nothing to say of it, it is
# smaller than with all parts, and the tests of the rest pass: the host's of the library, and those of tests/image/parts.rs.
# It is built by the profile `functional`: sizes are compared with each other, not with what ships.
# A part that no floor above the registers has is not in the host's library, so the host's tests run without all
# parts once; with NOS_NIGHTLY without each as well, and then the guest tests run too.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

export PROFILE=functional
guest=aarch64-unknown-none
images=$target/$PROFILE
parts=$(parts)
[ -n "$parts" ] || die "no default features in Cargo.toml"

# Most of the time of the host's tests goes into these, and no part has a say in what they test.
skipped="--skip cut_tests --skip memory::"
[ -z "${NOS_NIGHTLY:-}" ] || skipped=

# bytes IMAGE: of its code and data; the image itself fills up pages with zeros.
size=$(ls "$(rustc --print sysroot)"/lib/rustlib/*/bin/llvm-size)
bytes() { "$size" "$images/$1.elf" | awk 'NR == 2 { print $1 + $2 }'; }

# guest_tests FEATURES: those that an image with them can pass.
guest_tests() {
    tests=$(sed -n 's/^name = "\(guest_.*\)"$/--test \1/p' Cargo.toml)
    case ,$1, in
        *,smp,*) ;;
        *) tests=$(echo "$tests" | grep -v guest_smp) ;;
    esac
    # shellcheck disable=SC2086 # words, split on purpose
    cargo test --quiet --target "$guest" --no-default-features --features "$1" $tests
}

# without WORDS: the image without these parts.
without() {
    rest=
    for part in $parts; do
        case " $1 " in
            *" $part "*) ;;
            *) rest="$rest $part" ;;
        esac
    done
    features=$(echo "$rest" | tr ' ' ',')
    left_out=$(echo "$1" | tr ' ' ',')
    cargo clippy --quiet --target "$guest" --lib --bins --no-default-features --features "$features" -- -D warnings ||
        die "clippy, without $1"
    WITHOUT=$left_out scripts/image.sh
    left=$(bytes "nos-$left_out")
    [ "$left" -lt "$whole" ] || die "$left bytes without $1, $whole with all parts"
    if [ -z "$rest" ] || [ -n "${NOS_NIGHTLY:-}" ]; then
        # shellcheck disable=SC2086 # words, split on purpose
        cargo test --quiet --lib --no-default-features --features "$features" -- $skipped ||
            die "the host's tests, without $1"
    fi
    [ -z "${NOS_NIGHTLY:-}" ] || guest_tests "$features" || die "the guest tests, without $1"
    NOS_TEST_IMAGE=$images/nos-$left_out.img NOS_TEST_PARTS=$rest cargo test --quiet --test image -- parts:: ||
        die "the image's tests, without $1"
    sizes="$sizes$left bytes of code and data without $1
"
}

scripts/image.sh
whole=$(bytes nos)
sizes="$whole bytes of code and data with all parts
"
for part in $parts; do
    without "$part"
done
without "$parts"
printf '%s' "$sizes"
