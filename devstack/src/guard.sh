#!/bin/sh
# Ends a server and removes its folder when the process that started it is gone, in whatever way: the kernel closes
# standard input then. A backend of PostgreSQL is no member of its server's process group, so the tree is walked; a child
# belongs to the thread that started it.
end() {
  kill -STOP "$1" 2>/dev/null # stopped first, so that no child is born while the tree is walked
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do end "$child"; done
  kill -KILL "$1" 2>/dev/null
}

trap '' HUP INT TERM
cat >/dev/null
# Once moved, a server that was just being launched cannot write its process id, and so does not start.
mv "$1" "$1.ended" 2>/dev/null || exit 0
[ -f "$1.ended/server.pid" ] && end "$(cat "$1.ended/server.pid")"
tries=0 # a process that was killed may still be closing files
until rm -rf "$1.ended" 2>/dev/null || [ "$((tries += 1))" -ge 100 ]; do sleep 0.1; done
