#include "guest/linux/scripts.hpp"

#include <string_view>

namespace px::guest::linux_guest {

// Both scripts run under dash, bash and busybox sh. What shaped them:
//  - The streams of a command are pipes, not files: a program that opens /dev/stderr again (as
//    `echo x >/dev/stderr` does) would truncate a file and lose what was said before.
//  - A pipe's end is when its last writer goes, and a background child may keep it open for ever.
//    So after the command's own end the readers get 0.2 s more, and at most 5 s until both sleep:
//    in a loaded guest they may not have run yet. Then a `cat` that throws away takes their place,
//    for a closed pipe would kill the child with SIGPIPE.
//  - Nothing of the command is in an argument list: /proc/PID/cmdline is for everyone to read.
//    The program comes on standard input and reaches the second shell as an open file.
//  - The command's shell reads its text from fd 0, finds the command's standard input at 8, and
//    says on 7 why it could not start (exit codes belong to the command).
//  - busybox, where it is, serves for what the script itself needs: it is small, often static, and
//    starts in a third of the time of coreutils (12 ms and 35 ms under emulation).
//  - setpriv is util-linux's, by its path; busybox's (a link) can't change users: su serves there.
//  - setsid without -w: busybox has no -w, and here it never forks, for a background child of a
//    shell without job control leads no process group.
//  - Where the memory file system is full, what is left of the command (its text, its input) must
//    not run, and what is left of its output is no result: "f" says so. A reader that ends by
//    itself with an error found no room; a signal (128 and more) is the 0.2 s above.
//  - Output beyond the limit is given back to the kernel from its front by punching holes, which
//    keeps offsets right while the command goes on writing; without fallocate(1) it stays.

namespace {

// Prints the record: "KIND STATUS BOOT_ID DETAIL", then the head of stdout; the head of stderr on
// stderr.
constexpr std::string_view answer_function =
    R"sh(answer() { read -r k rc t <r; read -r boot </proc/sys/kernel/random/boot_id
 printf '%s\n' "$1$k $rc $boot $t" >&3
 [ -s o ] && $B head -c "$cap" o >&3; [ -s e ] && $B head -c "$cap" e >&4; exit 0; }
)sh";

}  // namespace

const std::string& run_script() {
  static const std::string text = R"sh(exec 3>&1 4>&2 >/dev/null 2>&1
umask 077; PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
X=$1 I=$2 cap=$3 lim=$4 in=$5 user=$6 home=$7 was=$8; shift 8; D=$X/$I B=
)sh" + std::string{answer_function} +
                                  R"sh(command -v busybox && B=busybox
full() { $B rm -f u i o e; echo "f 0" >r; echo "f 0" >&3; exit 0; }
who() {
 case $1 in root|0) n=root u=0 g=0 h=/root s=/bin/sh; return 0;; esac
 while IFS=: read -r n _ u g _ h s; do case $1 in "$n"|"$u") return 0;; esac; done </etc/passwd
 getent passwd "$1" >w && IFS=: read -r n _ u g _ h s <w; }
drive() {
 modprobe sr_mod; t=0
 while [ $t -lt 50 ]; do
  for d in /dev/sr[0-9]*; do
   case $(head -c 80 "$d") in "proxmox-sandbox $1 "*) return 0;; esac
  done
  sleep .1; t=$((t+1))
 done; return 1; }
medium() {
 { dd bs=2048 count=1 of=/dev/null; cat; } <"$d" | head -c "$1" | tee h >m; }
punch() {
 t=.25
 while $B sleep $t; do
  set -- $($B wc -c o e); t=1
  for f in "$1 o" "$3 e"; do
   l=$(( (${f% ?} - lim) / 4096 * 4096 ))
   [ $l -gt 4194304 ] && { fallocate -p -o 0 -l $l ${f#* }; t=.25; }
  done
 done; }
idle() { read -r t <"/proc/$1/stat" || return 0; t=${t##*) }; case $t in [SZ]*) ;; *) return 1;; esac; }
[ -d "$X" ] || $B mkdir -p "$X"
[ $# -eq 0 ] || (cd "$X" && $B rm -rf -- "$@") 3>&- 4>&- &
if ! $B mkdir "$D"; then
 cd "$D" || { echo "f 0" >&3; exit 0; }
 t=0; while [ ! -s r ]; do [ $t -lt 200 ] || { k=w; echo w >w || k=f; echo "$k 0" >&3; exit 0; }; sleep .1; t=$((t+1)); done
 answer
fi
cd "$D"
if [ "$was" != - ]; then
 read -r boot </proc/sys/kernel/random/boot_id
 [ "$was" = "$boot" ] || { echo "l 0" >r; answer; }
fi
IFS= read -r a; printf %b "$a" >u || full; a=
who "$user" || { echo "u 126" >r; answer; }
if [ "$u" = 0 ]; then set -- /bin/sh -s
elif t=$(command -v setpriv) && [ ! -L "$t" ]; then set -- "$t" "--reuid=$u" "--regid=$g" --init-groups /bin/sh -s
else set -- su -s /bin/sh "$n" -c "exec /bin/sh -s"; fi
hh=$h; [ "$home" = "$user" ] || hh=$(who "$home" && echo "$h")
$B mkfifo -m 666 p1 p2
$B cat <p1 >>o 3>&- 4>&- & a=$!
$B cat <p2 >>e 3>&- 4>&- & b=$!
punch 3>&- 4>&- & w=$!
case $in in
 none) exec 8</dev/null;;
 rest) umask 022; cat >i || full; umask 077; exec 8<i;;
 dir:*) i=${in#*:}; [ -e "$i/s" ] && mv "$i/s" u
  if [ -e "$i/p.0001" ]; then umask 022; cat "$i"/p.* >i || full; umask 077; exec 8<i
  elif [ -e "$i/p.0000" ]; then exec 8<"$i/p.0000"
  else exec 8</dev/null; fi
  rm -rf "$i";;
 medium:*) t=${in#*:}; nonce=${t%%:*}; t=${t#*:}; len=${t%:*} sum=${t#*:}
  if drive "$nonce"; then
   mkfifo -m 666 m h; sha256sum <h >hs 3>&- 4>&- & c=$!
   medium "$len" 3>&- 4>&- & exec 8<m
  else echo "b 0" >r; kill $w $a $b; answer; fi;;
esac
(export HOME="$h" USER="$n" LOGNAME="$n" SHELL="$s" LANG=C.UTF-8; cd "$hh" 2>/dev/null || cd /
 exec $B setsid "$@") <u 7>k >p1 2>p2 3>&- 4>&- & m=$!
echo $m >p; exec 8<&-
wait $m; rc=$?
trap : USR1; kill $w
($B sleep .2; n=0
 until idle $a && idle $b || [ $n -ge 50 ]; do $B sleep .1; n=$((n+1)); done
 kill -USR1 $$) 3>&- 4>&- & z=$!
if wait $a && wait $b; then kill $z
else
 [ $? -gt 128 ] || { kill $z; full; }
 kill -0 $a && { $B cat <p1 3>&- 4>&- & kill $a; }
 kill -0 $b && { $B cat <p2 3>&- 4>&- & kill $b; }
fi
k=x t=; [ -s k ] && read -r k t <k
case $in in medium:*) wait $c; read -r h _ <hs; [ "$h" = "$sum" ] || k=b;; esac
printf '%s\n' "$k $rc $t" >r || full
answer
)sh";
  return text;
}

const std::string& kill_script() {
  // The whole tree: the command's session, and whoever descends from it by parents (sudo and su -c
  // start sessions of their own).
  static const std::string text = R"sh(exec 3>&1 4>&2 >/dev/null 2>&1
X=$1 I=$2 cap=$3 B=
)sh" + std::string{answer_function} +
                                  R"sh(tree() {
 L=" $p "; T=
 for f in /proc/[0-9]*/stat; do
  { read -r t <"$f"; } || continue
  set -- "${t%% *}" ${t##*) }
  T="$T $1:$3:$5"
 done
 t=
 while [ "$t" != "$L" ]; do
  t=$L
  for f in $T; do
   IFS=:; set -- $f; unset IFS
   case $L in *" $1 "*) continue;; esac
   if [ "$3" = "$p" ]; then L="$L$1 "; else case $L in *" $2 "*) L="$L$1 ";; esac; fi
  done
 done; }
ended() { n=0; while [ ! -s r ]; do [ $n -lt "$1" ] || return 1; sleep .1; n=$((n+1)); done; }
cd "$X/$I" || { mkdir -p "$X/$I" && cd "$X/$I" && echo "g 0" >r; answer; }
[ -s r ] && answer
n=0; while [ ! -s p ] && [ $n -lt 30 ]; do sleep .1; n=$((n+1)); done
read -r p <p || { echo "g 0" >r; answer; }
tree; kill -TERM $L; ended 20 || { tree; kill -KILL $L; ended 50 || echo "x 137" >r; }
answer K
)sh";
  return text;
}

const std::string& pack_script() {
  static const std::string text = R"sh(exec 3>&1 >/dev/null 2>&1
umask 077; cd "$1/$2" || exit 1; cap=$3 lim=$4
for f in o e; do
 n=$(wc -c <$f); z=0 s=0; [ "$n" -gt "$lim" ] && s=$((n-lim))
 if [ "$n" -gt "$cap" ]; then
  c=262144; [ $((n-s)) -lt $c ] && c=$((n-s))
  t=$(tail -c +$((s+1)) $f | head -c $c | gzip -1 | wc -c)
  [ $((t*4)) -lt $((c*3)) ] && tail -c +$((s+1)) $f | gzip -1 >$f.z && z=1
 fi
 echo "$n $s $z" >&3
done
)sh";
  return text;
}

}  // namespace px::guest::linux_guest
