# What `.ci/run` and `.ci/long` both stand in: where things are built, and the software Vulkan driver, so that the wgpu
# path is tested without a GPU. Sourced from the project's root.

# Outside the checkout, so that a clean checkout builds only our own crates again.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/pipeline-target}"
export CARGO_TERM_COLOR=never CI=true
# A test that lacks what it needs fails here: the driver is installed below, and `../shared` lies beside the checkout.
export PIPELINE_NO_SKIPS=1

if ! ls /usr/share/vulkan/icd.d/lvp_icd* >/dev/null 2>&1; then
  sudo=$(command -v sudo || true)
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1 >/dev/null
fi
# Only the software driver: a half-working real one would make the tests depend on the machine.
icd=$(ls /usr/share/vulkan/icd.d/lvp_icd* | head -n 1)
export VK_DRIVER_FILES="$icd" VK_ICD_FILENAMES="$icd" XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"

step() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }

