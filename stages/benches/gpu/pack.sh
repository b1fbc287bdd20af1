#!/usr/bin/env bash
# Puts what is run on a machine with a GPU into one folder: the bench and `pipeline`, stripped and compressed, the peers'
# programs, and the script that runs it there. That machine needs a Vulkan driver with its loader, tar, and xz or Python's
# lzma; no build, no network.
#
#   stages/benches/gpu/pack.sh FOLDER                       builds both programs, and packs them
#   stages/benches/gpu/pack.sh FOLDER --spirv               and the bench once more, with --features vulkan
#   stages/benches/gpu/pack.sh FOLDER --wgsl BENCH --pipeline PIPELINE [--spirv-built BENCH]      packs what is built
#   … --wheels DIRECTORY                                    wheels of packages that the machine's Python lacks (trl, datasets, …)
#   … --profile release                                     instead of dist, which takes longest to build and least to run
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
most=$((64 * 1024 * 1024))

folder=${1:?the folder to make}; shift
wgsl='' spirv='' pipeline='' wheels='' profile=dist builds_spirv=false
while (($#)); do
  case $1 in
    --wgsl) wgsl=$2; shift 2 ;;
    --spirv-built) spirv=$2; shift 2 ;;
    --pipeline) pipeline=$2; shift 2 ;;
    --wheels) wheels=$2; shift 2 ;;
    --profile) profile=$2; shift 2 ;;
    --spirv) builds_spirv=true; shift ;;
    *) echo "there is no $1; the head of this script has what there is" >&2; exit 2 ;;
  esac
done

# The path of what cargo has built: its last message that names one.
built() {
  (cd "$root" && cargo "$@" --message-format json-render-diagnostics) |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}
# Benches take the profile of the same name; without `--profile` cargo gives them `bench`, which is `release` here.
[ -n "$wgsl" ] || wgsl=$(built bench --profile "$profile" --bench gpu --no-run)
[ -n "$pipeline" ] || pipeline=$(built build --profile "$profile" --bin pipeline)
if $builds_spirv; then
  spirv=$(built bench --profile "$profile" --features vulkan --bench gpu --no-run)
fi

mkdir -p "$folder/peers"
stage=$(mktemp -d)
trap 'rm -r "$stage"' EXIT
take() { # a program, by the name that it has there
  cp "$1" "$stage/$2" && strip "$stage/$2" 2>/dev/null || true
  test -s "$stage/$2" && chmod +x "$stage/$2"
}
take "$wgsl" gpu
take "$pipeline" pipeline
[ -z "$spirv" ] || take "$spirv" gpu-spirv
tar -C "$stage" -cf - . | xz -6 -T0 >"$folder/programs.tar.xz"
cp "$here"/../peers/*.py "$folder/peers/"
cp "$here/run.sh" "$folder/"
if [ -n "$wheels" ]; then
  mkdir -p "$folder/wheels" && cp "$wheels"/*.whl "$folder/wheels/"
fi

bytes=$(du -sb "$folder" | cut -f1)
(cd "$folder" && find . -type f -exec ls -l {} + | awk '{print $5, $NF}')
echo "$bytes bytes in all"
if ((bytes > most)); then
  echo "that is more than 64 MiB: leave out --spirv, and pack it into a folder of its own" >&2
  exit 1
fi
