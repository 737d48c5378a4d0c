#!/bin/sh
# Becomes a container, in fresh namespaces: see containers.py, which starts it.
#   container.sh LOG NAME ADDRESS LAYER ROOT HOSTS USER GROUP FOLDER [KIND PATH WHAT]... -- COMMAND...
# KIND is `memory` (WHAT: options of a mount), `keep` (a folder to write) or `show` (read-only).
set -eu
log=$1 name=$2 address=$3 layer=$4 image=$5 hosts=$6 user=$7 group=$8 folder=$9
shift 9

# the network: whoever started us puts our end of a cable here, and then says so
echo here
read -r _
exec < /dev/null >> "$log" 2>&1
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
hostname "$name"

# the root: the image's, below a layer in memory, which is read-only once it is furnished
mount --make-rprivate /
mount -t tmpfs tmpfs "$layer"
cd "$layer"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=$image,upperdir=upper,workdir=work" root
cd root
printf %s "$hosts" > etc/hosts
echo "hosts: files" > etc/nsswitch.conf # a name that is not there is known not to be
grep -q "^[^:]*:[^:]*:$user:" etc/passwd || echo "user:x:$user:$group::/tmp:/bin/sh" >> etc/passwd
mkdir -p proc dev
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom; do
  : > "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir -m 1777 dev/shm
ln -s /proc/self/fd dev/fd
while [ "$1" != -- ]; do
  kind=$1 path=.$(chroot . realpath -m "$2") what=$3 # /var/run leads to /run of this root
  shift 3
  if [ -f "$what" ]; then
    mkdir -p "${path%/*}"
    [ -e "$path" ] || : > "$path"
  else
    mkdir -p "$path"
  fi
  above=${path%/*}
  while [ "$above" != . ]; do # what is shown may be in somebody's home
    chmod go+x "$above" 2> /dev/null || :
    above=${above%/*}
  done
  case $kind in
    memory) mount -t tmpfs -o "$what" tmpfs "$path" ;;
    keep) mount --bind "$what" "$path" ;;
    show) mount --bind "$what" "$path" && mount -o remount,ro,bind "$path" ;;
  esac
done
shift
[ -e ".$folder" ] || install -d -o "$user" -g "$group" ".$folder"
mount -o remount,ro,bind .

cd /
exec chroot "$layer/root" sh -c 'cd "$1" && shift && exec "$@"' sh "$folder" "$@"
