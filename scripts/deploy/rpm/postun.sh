if test -d /run/systemd/system; then
    systemctl daemon-reload || :
fi
# $1 is the number of versions that stay installed. rpm leaves directories that no package names.
if test "$1" -eq 0; then
    rmdir /usr/share/doc/%{NAME} /usr/share/%{NAME} 2>/dev/null || :
fi
