#!/bin/sh
# A campaign of faults on the running image, under redis and scrape load: each fault is a point of /faults with knobs drawn
# from a seed; what clients and pages then show is judged, and every outcome counted. A table on screen,
# target/bench/faults.json beside it. Ends with 1 if an answer was wrong, an acknowledged key was lost, or too few
# faults that showed were recovered from. Settings, in the environment or as make variables (make bench-faults SEED=7):
#   SEED=1             what the campaign is drawn from: the same seed is the same faults
#   FAULTS=300         how many; 10000 with NOS_NIGHTLY set
#   ONLY=              one fault of the campaign by its number, on an image of its own: to replay what failed
#   POINTS= EXCEPT=    these points alone, all but these, by name
#   SMP=1 MEM=128M     the machine
#   IMAGE=FILE         that image, not the one this tree builds
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

for needed in qemu-system-aarch64 python3; do
    have $needed || die "$needed is not there; type: scripts/setup.sh test"
done
if [ -z "${IMAGE:-}" ]; then
    "$root/scripts/image.sh"
    IMAGE=$target/nos.img
fi
[ -z "${NOS_NIGHTLY:-}" ] || FAULTS=${FAULTS:-10000}
export IMAGE SEED FAULTS ONLY POINTS EXCEPT SMP MEM
mkdir -p "$target/bench"
exec python3 "$root/scripts/bench_faults.py" "$target/bench/faults.json"
