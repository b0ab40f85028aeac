# A machine under QEMU's software emulation, of Debian's packages, none of which is installed; to be sourced after common.bash.
#
# Whoever sources it sets: guest (a folder, where packages stay from one run to the next) and root (the folder that becomes the machine's file system).
# shellcheck shell=bash disable=SC2154,SC2034 # those variables, and those that it sets

# Suites that packages are taken from: of QEMU and busybox, of a kernel without zero copy in virtio-net and igb (6.12), and of one with it.
SUITES=(bookworm bookworm-backports trixie-backports)

# Something that has to come from elsewhere is not to be had (EX_UNAVAILABLE of sysexits.h).
unavailable() {
    echo "scripts/${0##*/}: $*" >&2
    exit 69
}

# apt_ TOOL ARGUMENTS...: apt-get or apt-cache, with lists and a cache of its own.
apt_() {
    local tool=$1
    shift
    "$tool" -o "Dir::Etc::sourcelist=$guest/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$guest/apt/lists" \
        -o "Dir::Cache=$guest/apt/cache" -o APT::Sandbox::User=root -o Debug::NoLocking=1 "$@"
}

# Fetches the lists of packages, from the mirror that this machine uses already. They are a day old at most.
get_lists() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror suite
    [ -z "$(find "$guest/apt/lists" -name '*_Packages*' -mtime -1 2>/dev/null)" ] || return 0
    command -v apt-get >/dev/null || unavailable "the guest is made of Debian's packages, and there is no apt-get"
    [ -e "$keyring" ] || unavailable "the guest is made of Debian's packages, and $keyring is missing (Debian: debian-archive-keyring)"
    mkdir -p "$guest/apt/lists/partial" "$guest/apt/cache/archives/partial"
    # shellcheck disable=SC2016 # apt's own notation
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1 || true)
    for suite in "${SUITES[@]}"; do
        echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} $suite main"
    done >"$guest/apt/sources.list"
    apt_ apt-get -qq -o APT::Update::Error-Mode=any update || unavailable "the lists of Debian's packages cannot be fetched from ${mirror:-deb.debian.org}"
}

# unpack FOLDER PACKAGE...: fetches packages (or NAME/SUITE) and unpacks them into a folder, unless it is there.
unpack() {
    local folder=$1 fetched
    shift
    [ ! -e "$folder" ] || return 0
    fetched=$(mktemp --directory "$guest/fetched.XXXXXX")
    (cd "$fetched" && apt_ apt-get -qq download "$@") || unavailable "cannot be had from Debian: $*"
    unpack_all "$folder" "$fetched"
    rm -r "$fetched"
}

# unpack_all FOLDER FROM: the packages of a folder, into another that is there only when all of them are.
unpack_all() {
    local package
    rm -rf "$1.part"
    for package in "$2"/*.deb; do
        dpkg -x "$package" "$1.part"
    done
    mv "$1.part" "$1"
}

# Sets $qemu, a command: the machine's own where it knows igb (from 8.0 on), else one that is unpacked with what it lacks here.
get_qemu() {
    local own folder=$guest/qemu
    own=$(command -v qemu-system-x86_64 || true)
    if [ -n "$own" ] && [ "$("$own" --version | sed -n 's/.*version \([0-9]*\).*/\1/p')" -ge 8 ]; then
        qemu=("$own")
        return
    fi
    if [ ! -e "$folder" ]; then
        get_lists
        rm -f "$guest"/apt/cache/archives/*.deb
        apt_ apt-get -qq -y --download-only --no-install-recommends --target-release bookworm-backports install qemu-system-x86 >/dev/null ||
            unavailable "QEMU 8 or newer cannot be had (Debian: qemu-system-x86)"
        unpack_all "$folder" "$guest/apt/cache/archives"
    fi
    qemu=(env "LD_LIBRARY_PATH=$folder/usr/lib/x86_64-linux-gnu:$folder/lib/x86_64-linux-gnu" "$folder/usr/bin/qemu-system-x86_64"
        -L "$folder/usr/share/qemu" -L "$folder/usr/share/seabios")
    "${qemu[@]}" --version >/dev/null || unavailable "the QEMU that was unpacked does not run here"
}

# get_kernel FLAVOUR SUITE: unpacks a kernel. Sets $kernel, its image, and $modules, their folder.
get_kernel() {
    local folder=$guest/linux-$1-$2 image parts
    if [ ! -e "$folder" ]; then
        get_lists
        image=$(apt_ apt-cache show "linux-image-$1/$2" 2>/dev/null | sed -n 's/^Depends:.*\(linux-image-[0-9][^ ,]*\).*/\1/p' | head -n 1 || true)
        [ -n "$image" ] || unavailable "Debian's kernel ($1 of $2) cannot be had"
        # Newer ones are in parts.
        parts=$(apt_ apt-cache show "$image" 2>/dev/null | sed -n 's/^Depends: //p' | head -n 1 | tr ',' '\n' | grep -oE 'linux-(binary|modules)-[^ ]+' || true)
        # shellcheck disable=SC2086 # one argument a package
        unpack "$folder" "$image" $parts
    fi
    kernel=$(find "$folder" -name 'vmlinuz*' | head -n 1)
    modules=$(find "$folder" -path '*/modules/*' -name kernel | head -n 1)
    if [ -z "$kernel" ] || [ -z "$modules" ]; then
        fail "$folder is no kernel: remove it, and try again"
    fi
}

# put PROGRAM [AS]: a program of this machine with the libraries that it needs, where they are here.
put() {
    local as=${2:-$1} library
    mkdir -p "$root$(dirname "$as")"
    cp --dereference --remove-destination "$1" "$root$as"
    { ldd "$1" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp --dereference "$library" "$root$library"
    done
}

# begin_root [NAME...]: an empty system with busybox, except its programs of these names. Sets $busybox.
begin_root() {
    local program
    [ -e "$guest/busybox" ] || get_lists
    unpack "$guest/busybox" busybox-static/bookworm
    busybox=$guest/busybox/bin/busybox
    rm -rf "$root"
    mkdir -p "$root"/{bin,sbin,modules,proc,sys,dev,tmp,run}
    cp "$busybox" "$root/bin/busybox"
    for program in $("$busybox" --list); do
        case " busybox $* " in
            *" $program "*) ;;
            *) ln -s busybox "$root/bin/$program" ;;
        esac
    done
}

# put_modules NAME...: those kernel modules that there are.
put_modules() {
    local name file
    for name; do
        file=$(find "$modules" -name "$name.ko" -o -name "$name.ko.xz" | head -n 1)
        case $file in
            *.xz) "$busybox" xzcat "$file" >"$root/modules/$name.ko" ;;
            ?*) cp "$file" "$root/modules/" ;;
        esac
    done
}

# The beginning of a system's init: loads modules, in this order.
init_head() {
    cat <<INIT
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin TERM=dumb
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /run
for module in $*; do
    [ ! -e /modules/\$module.ko ] || insmod /modules/\$module.ko
done
ip link set lo up
INIT
}

# pack_root INITRD: the system as QEMU takes it.
pack_root() {
    chmod +x "$root/init"
    (cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$1"
}

# Sets $machine, the arguments of every machine: initrd, CPUs and megabytes.
describe_machine() {
    machine=(-M q35 -accel "tcg,thread=multi" -cpu max -smp "$2" -m "$3" -nodefaults -display none -serial stdio -monitor none -no-reboot
        -kernel "$kernel" -initrd "$1" -append "console=ttyS0 panic=-1 quiet")
}
