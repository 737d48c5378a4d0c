#!/bin/sh
# PostgreSQL's image runs this once, when it makes the database: the role of the running service,
# which may connect and no more; `gateway migrate` grants it the rows of tables.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set password="$(cat /run/secrets/service_password)" <<'SQL'
CREATE ROLE service LOGIN PASSWORD :'password';
SQL
