#!/bin/sh
# Does what the entry point of the image influxdb:1.8 does with these variables.
set -eu
if [ ! -d /var/lib/influxdb/meta ]; then
    INFLUXDB_HTTP_AUTH_ENABLED=false INFLUXDB_HTTP_BIND_ADDRESS=127.0.0.1:8086 influxd &
    until influx -execute 'SHOW DATABASES' >/dev/null 2>&1; do sleep 0.1; done
    influx -execute "CREATE DATABASE $INFLUXDB_DB"
    influx -execute "CREATE USER $INFLUXDB_ADMIN_USER WITH PASSWORD '$INFLUXDB_ADMIN_PASSWORD' WITH ALL PRIVILEGES"
    influx -execute "CREATE USER $INFLUXDB_WRITE_USER WITH PASSWORD '$INFLUXDB_WRITE_USER_PASSWORD'"
    influx -execute "GRANT WRITE ON $INFLUXDB_DB TO $INFLUXDB_WRITE_USER"
    kill $!
    wait $! || true
fi
exec influxd
