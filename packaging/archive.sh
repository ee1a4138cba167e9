#!/bin/sh
# archive: puts static libraries together to one that shows nothing but what is marked STUNWAY_API.
#   archive.sh CC OBJCOPY AR OUT.a IN.a...
set -eu
cc=$1 objcopy=$2 ar=$3 out=$4
shift 4
object=$out.o
$cc -r -nostdlib -o "$object" -Wl,--whole-archive "$@"
$objcopy --localize-hidden "$object"
rm -f "$out"
$ar rcs "$out" "$object"
rm -f "$object"
