#!/usr/bin/env bash
# Build the C core and its binding with ASan and UBSan and run every kernel that this processor has, of each third
# model; then calls of the C interface in any order.
#     sanitize.sh BUILD_FOLDER
set -euo pipefail
build=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
flags="-g1 -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="$flags" -DLSTMCORE_OPTIMIZATION=-O1 \
    -DLSTMCORE_WERROR=ON -DLSTMCORE_TESTS=ON -DLSTMCORE_BINDING=ON -DPython_EXECUTABLE="$(command -v python)" > /dev/null
cmake --build "$build" --parallel 2 > /dev/null
kernels=$("$build/kernel_bits" --list)
programs=
for program in poison kernel_bits quiet scarce stops; do # those that take longest first
    if [ -x "$build/$program" ]; then # or this system's linker has no --wrap
        programs+=" $program"
    fi
done
answers_of() { # what a kernel gives in a program
    local hashes
    hashes=$("$build/$2" "$1" | sha256sum | cut -c1-16) || [ $? = 77 ] # quiet says what it could not watch
    echo "sanitized kernel $1, $2: $hashes"
}
export -f answers_of
export build
for program in $programs; do
    for kernel in $kernels; do
        echo "$kernel" "$program"
    done
done | TRY_EVERY=3 xargs -P 2 -L 1 bash -euo pipefail -c 'answers_of "$0" "$1"' | tee "$build/answers"
if [ "$(sed 's/.*: //' "$build/answers" | sort -u | wc -l)" != 1 ]; then
    echo "the kernels give different bits" >&2
    exit 1
fi
"$build/api_fuzz" -runs=2000 -artifact_prefix="$build/"
for kernel in $kernels; do
    "$build/nulls" "$kernel"
    echo "sanitized kernel $kernel, nulls"
done
# Threads: ThreadSanitizer does not go with the others.
cmake -S "$root" -B "$build/tsan" -DCMAKE_BUILD_TYPE=None -DLSTMCORE_WERROR=ON -DLSTMCORE_TESTS=ON \
    -DCMAKE_C_FLAGS="-g1 -O1 -fsanitize=thread" -DLSTMCORE_OPTIMIZATION=-O1 > /dev/null
cmake --build "$build/tsan" --parallel 2 --target threads > /dev/null
for kernel in $kernels; do
    echo "$kernel"
done | xargs -P 2 -I {} bash -c '"$build/tsan/threads" {} && echo "sanitized kernel {}, threads"'
