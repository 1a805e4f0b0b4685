# Shared by deploy/quickstart and tests/run: packages, building, and telling what is going on. Sourced, not run.

# What a build needs, from Debian's packages alone.
build_packages=(g++ cmake ninja-build mold pkg-config libgrpc++-dev protobuf-compiler-grpc protobuf-compiler
  libprotobuf-dev libabsl-dev libeigen3-dev libopenblas-dev librocksdb-dev libspdlog-dev prometheus-cpp-dev libhwy-dev libcli11-dev
  nlohmann-json3-dev libxxhash-dev zlib1g-dev libjemalloc-dev libssl-dev libboost-dev)
# What trains transformers: some 630 MB, so that a quickstart does without.
torch_packages=(libtorch-dev)
# What the tests need besides.
test_packages=(libgtest-dev libgmock-dev python3 python3-pip python3-grpcio python3-protobuf python3-yaml python3-jsonschema
  openapi-specification openssl curl haproxy)
# A browser, for the tests of the console: 340 MB (110 MB to fetch) and its libraries, so that tests/run installs it only when asked to.
browser_packages=(chromium python3-websocket)
# What unpacks and converts the demonstration data.
data_packages=(r-base-core)

# Bold for people, plain for files.
if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold= dim= plain=; fi

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

as_root() {
  if ((EUID == 0)); then
    env DEBIAN_FRONTEND=noninteractive "$@"
  elif command -v sudo >/dev/null; then
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  else
    die "packages are missing and this user is neither root nor has sudo; run as root: $*"
  fi
}

# quietly LOG COMMAND...: runs it with its output in LOG; shows the end of the log when it fails.
quietly() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 || {
    echo "failed: $*" >&2
    tail -n 40 "$log" >&2
    die "the whole log is in $log"
  }
}

# missing_packages NAME...: those that are not installed, one a line.
missing_packages() {
  local name
  for name in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || echo "$name"
  done
}

# install_packages LOG NAME...: installs what is missing; says what it installed.
install_packages() {
  local log=$1 missing
  shift
  command -v dpkg-query >/dev/null || die "this needs Debian (or a derivative): dpkg-query was not found"
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    echo "All $# Debian packages are there."
    return
  fi
  echo "Installing ${#missing[@]} of $# Debian packages: ${missing[*]}"
  quietly "$log" as_root apt-get update -q
  quietly "$log" as_root apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# unpack_package LOG DIRECTORY NAME: the files of a package, without installing it (and starting its service, say).
unpack_package() {
  local log=$1 directory=$2 name=$3
  mkdir -p "$directory"
  (cd "$directory" && rm -f "$name"_*.deb && apt-get download -q "$name" && dpkg-deb -x "$name"_*.deb . &&
    rm -f "$name"_*.deb) >"$log" 2>&1
}

# build PRESET LOG TARGET... [-- CMAKE_OPTION...]: configures when needed and builds, with progress on a terminal.
build() {
  local preset=$1 log=$2 targets=() options=()
  shift 2
  while (($#)) && [[ $1 != -- ]]; do
    targets+=("$1")
    shift
  done
  (($#)) && options=("${@:2}")
  quietly "$log" cmake --preset "$preset" "${options[@]}"
  if [[ -t 1 ]]; then
    ninja -C "build/$preset" "${targets[@]}" || die "the build failed"
  else
    quietly "$log" ninja -C "build/$preset" "${targets[@]}"
    # Ninja's last line says how much there was to do.
    tail -n 1 "$log"
  fi
}
