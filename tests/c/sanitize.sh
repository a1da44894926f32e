#!/usr/bin/env bash
# Build the C core and its binding with ASan and UBSan and run every kernel that this processor has; then
# calls of the C interface in any order.
#     sanitize.sh BUILD_FOLDER
set -euo pipefail
build=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
flags="-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="$flags" -DLSTMCORE_WERROR=ON \
    -DLSTMCORE_TESTS=ON -DLSTMCORE_BINDING=ON -DPython_EXECUTABLE="$(command -v python)" > /dev/null
cmake --build "$build" --parallel 2 > /dev/null
kernels=$("$build/kernel_bits" --list)
expected=
for kernel in $kernels; do
    for program in kernel_bits poison quiet scarce stops; do
        if [ ! -x "$build/$program" ]; then
            continue # this system's linker has no --wrap
        fi
        hashes=$("$build/$program" "$kernel" | sha256sum | cut -c1-16) || [ $? = 77 ] # quiet says what it could not watch
        echo "sanitized kernel $kernel, $program: $hashes"
        if [ "${expected:=$hashes}" != "$hashes" ]; then
            echo "kernel $kernel gives other bits" >&2
            exit 1
        fi
    done
done
"$build/api_fuzz" -runs=2000 -artifact_prefix="$build/"
for kernel in $kernels; do
    "$build/nulls" "$kernel"
    echo "sanitized kernel $kernel, nulls"
done
# Threads: ThreadSanitizer does not go with the others.
cmake -S "$root" -B "$build/tsan" -DCMAKE_BUILD_TYPE=None -DLSTMCORE_WERROR=ON -DLSTMCORE_TESTS=ON \
    -DCMAKE_C_FLAGS="-g -O1 -fsanitize=thread" > /dev/null
cmake --build "$build/tsan" --parallel 2 --target threads > /dev/null
for kernel in $kernels; do
    "$build/tsan/threads" "$kernel"
    echo "sanitized kernel $kernel, threads"
done
