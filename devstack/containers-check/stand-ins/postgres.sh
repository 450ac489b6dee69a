# Makes the database at the first start, and runs the server as postgres.
set -eu
if [ "$(id -u)" = 0 ]; then
    chown postgres: "$PGDATA" /run/postgresql
    exec setpriv --reuid postgres --regid postgres --clear-groups --no-new-privs bash "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username "$POSTGRES_USER" --pwfile <(echo "$POSTGRES_PASSWORD") --auth scram-sha-256 --encoding UTF8
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait -o "-c listen_addresses=''" start
    PGPASSWORD=$POSTGRES_PASSWORD createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --wait stop
fi
exec "$@" -c 'listen_addresses=*'
