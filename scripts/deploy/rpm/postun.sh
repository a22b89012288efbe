if test -d /run/systemd/system; then
    systemctl daemon-reload || :
fi
# $1 is the number of versions that stay installed. rpm leaves directories that no package names. What the administrator
# wrote in /etc/docxy stays.
if test "$1" -eq 0; then
    rmdir /usr/share/doc/%{NAME} /usr/share/%{NAME} /etc/docxy 2>/dev/null || :
fi
