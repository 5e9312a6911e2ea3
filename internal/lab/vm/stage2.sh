# The first process once the host's / is in place: finishes the set-up, runs the job on the second serial
# port, reports its status on the third, and ends the machine. Nothing here may end without a reboot.
B=/run/hostroute-vm/busybox
. /run/hostroute-vm/job

$B mkdir -p /dev/pts /dev/shm /run/lock
$B mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
$B mount -t tmpfs shm /dev/shm
$B ln -sf /proc/self/fd /dev/fd
$B ln -sf /dev/pts/ptmx /dev/ptmx
$B hostname hostroute-vm
$B ip link set lo up
R=$($B uname -r)
$B mkdir -p "/lib/modules/$R" && $B mount --bind "$HR_MODULES" "/lib/modules/$R"
[ -c /dev/net/tun ] || { $B mkdir -p /dev/net && $B mknod /dev/net/tun c 10 200; }

tty=/dev/ttyS1
if [ "$HR_TERMINAL" = true ]; then
  $B stty -F $tty sane
  ( cd "$HR_WORKDIR" && exec $B setsid -c $B sh -c '. /run/hostroute-vm/job; hr_command' <$tty >$tty 2>&1 )
else
  $B stty -F $tty raw -echo
  ( cd "$HR_WORKDIR" && hr_command </dev/null >$tty 2>&1 )
fi
status=$?
# Setting a terminal's modes waits until all that was written is out.
$B stty -F $tty raw
$B stty -F /dev/ttyS2 raw -echo
echo "hostroute-exit $status" >/dev/ttyS2
$B stty -F /dev/ttyS2 raw
$B reboot -f
