# What scripts have in common; to be sourced.
# shellcheck shell=bash

# one_of OPTION VALUE ALLOWED...: the value, if it is one of those.
one_of() {
    local option=$1 value=$2
    shift 2
    printf '%s\n' "$@" | grep -qxF -e "$value" || { echo "scripts/${0##*/}: $option takes one of: $*" >&2 && exit 2; }
    echo "$value"
}

# number OPTION VALUE MIN MAX: the value, if it is a whole number in that range.
number() {
    if ! [[ $2 =~ ^[0-9]{1,7}$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        echo "scripts/${0##*/}: $1 takes a number from $3 to $4" >&2
        exit 2
    fi
    echo "$2"
}

step() { printf '\n== %s\n' "$*"; }

fail() {
    echo "scripts/${0##*/}: $*" >&2
    exit 1
}

# install COMMAND PACKAGE: installs PACKAGE where COMMAND is missing, on Debian.
install() {
    command -v "$1" >/dev/null && return
    if command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq "$2" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq "$2" >/dev/null; }
    fi
    command -v "$1" >/dev/null || fail "$1 is missing (Debian: apt-get install $2)"
}
