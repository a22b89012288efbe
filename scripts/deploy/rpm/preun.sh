# $1 is the number of versions that stay installed. The state stays in any case.
if test "$1" -eq 0; then
    systemctl disable --now %{NAME}.service || :
fi
