#!/bin/sh
# Lays out the root of the image in a directory: the files of these Debian packages, and what their scripts would make.
# The packages' own entries stay in var/lib/dpkg/status.d, where scanners look for them.
set -eu
root=$1
python=python3.11
packages="base-files ca-certificates libbz2-1.0 libc6 libexpat1 libffi8 libgcc-s1 liblzma5 libpython3.11-minimal
  libpython3.11-stdlib libsqlite3-0 libssl3 libstdc++6 libuuid1 media-types netbase python3.11-minimal tini zlib1g"

# shellcheck disable=SC2086 # a list
apt-get install -qq --yes --no-install-recommends $packages >/dev/null

mkdir -p "$root/etc/dispatcher/schedule" "$root/opt" "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/usr/sbin" \
  "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/var/lib/dpkg/status.d"
for each in bin lib lib64 sbin; do ln -s "usr/$each" "$root/$each"; done
for package in $packages; do
  dpkg-query --status "$package" >"$root/var/lib/dpkg/status.d/$package"
  dpkg-query --listfiles "$package"
done | sort -u | while read -r path; do
  case $path in
    /usr/share/doc/*/copyright | /usr/share/ca-certificates/*.crt) ;;
    /usr/share/doc/*/* | /usr/share/man/* | /usr/share/locale/* | /usr/share/lintian/* | /usr/share/bug/*) continue ;;
    /usr/share/ca-certificates/* | /usr/share/binfmts/* | /usr/share/apps/* | /usr/share/pixmaps/*) continue ;;
    /etc/cron* | /etc/dpkg/* | /etc/update-motd.d/* | /etc/profile.d/* | /etc/skel/* | /root/*) continue ;;
    /usr/sbin/* | /usr/share/base-files/* | /home/* | /var/* | */gconv/* | */tini-static) continue ;;
  esac
  if [ -L "$path" ] || [ -f "$path" ]; then echo "${path#/}"; fi
done >/files
tar --create --directory=/ --no-recursion --files-from=/files | tar --extract --directory="$root" --keep-directory-symlink

ln -s "$python" "$root/usr/bin/python3"
mkdir -p "$root/etc/ssl/certs"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
rm -rf "$root/usr/share/ca-certificates"
printf 'root:x:0:0:root:/:/none\ndispatcher:x:65532:65532:dispatcher:/tmp:/none\n' >"$root/etc/passwd"
printf 'root:x:0:\ndispatcher:x:65532:\n' >"$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
install -d -m 1777 "$root/tmp"

# Modules of the standard library that need a library which nobody here needs (curses, dbm, NIS, readline) go.
for module in "$root/usr/lib/$python"/lib-dynload/*.so; do
  chroot "$root" /lib64/ld-linux-x86-64.so.2 --list "${module#"$root"}" >/dev/null 2>&1 || rm "$module"
done
rm -rf "$root/usr/lib/$python/pydoc_data" "$root/usr/lib/$python/turtle.py"
"$python" -m compileall -q --invalidation-mode unchecked-hash -s "$root" "$root/usr/lib/$python"
