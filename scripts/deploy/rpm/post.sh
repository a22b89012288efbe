# Of both packages. rpm replaces NAME, and reads square brackets itself. $1 is the number of versions then installed.
systemd-sysusers %{NAME}.conf || exit 1
# The service reads its config file there, as the user `docxy`. Version 0.3 closed it.
install -d -m 755 -o root -g root /etc/docxy
if test -d /run/systemd/system; then
    # Until the next boot, which reads the same files. A container may not.
    modprobe -q tcp_bbr 2>/dev/null || :
    /usr/lib/systemd/systemd-sysctl 60-%{NAME}.conf 2>/dev/null || :
    systemctl daemon-reload || :
fi
if test "$1" -gt 1; then
    systemctl try-restart %{NAME}.service || :
else
    systemctl enable %{NAME}.service || :
    systemctl start %{NAME}.service || :
fi
