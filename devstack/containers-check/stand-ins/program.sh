#!/bin/sh
# Debian's exporter of PostgreSQL is older than PostgreSQL 17, whose checkpoints it does not know.
for option; do
  shift
  [ "$option" = --collector.stat_checkpointer ] || set -- "$@" "$option"
done
exec /usr/local/bin/program "$@"
