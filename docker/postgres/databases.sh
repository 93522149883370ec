# Run once, by the first start of PostgreSQL: a user a program, who owns its own databases and cannot enter another's.
( # the image's own script reads this file into itself
  set -eu
  secrets=${POSTGRES_PASSWORD_FILE%/*}
  while read -r owner database secret; do
    psql --quiet --username=postgres --dbname=postgres --set=ON_ERROR_STOP=1 --set=owner="$owner" \
      --set=database="$database" --set=password="$(cat "$secrets/$secret")" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', :'owner', :'password')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') \gexec
CREATE DATABASE :"database" OWNER :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
  done <<'LIST'
mlflow mlflow mlflow_database_password
mlflow mlflow_auth mlflow_database_password
prefect prefect prefect_database_password
slipway slipway journal_database_password
LIST
)
