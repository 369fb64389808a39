# Makes a /dev in the directory $0/dev, in which a test has its own `log`; the rest is the machine's.
set -e
for name in null zero full random urandom tty; do
    : > "$0/dev/$name"
    mount --bind "/dev/$name" "$0/dev/$name"
done
mkdir -p "$0/dev/pts" "$0/dev/shm"
mount --rbind /dev/pts "$0/dev/pts"
ln -sf pts/ptmx "$0/dev/ptmx"
ln -sf /proc/self/fd "$0/dev/fd"
