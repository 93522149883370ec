# Run once, by the first start of PostgreSQL: a user a program, who owns its own databases and cannot enter another's.
( # the image's own script reads this file into itself
  set -eu
  secrets=${POSTGRES_PASSWORD_FILE%/*}
  while read -r owner database secret; do
    if [ ! -r "$secrets/$secret" ] || [ ! -s "$secrets/$secret" ]; then
      echo "databases.sh: $secrets/$secret is empty or cannot be read. Run docker/make-secrets." >&2
      exit 2
    fi
    # psql reads the password itself: everybody on the machine sees command lines.
    psql --quiet --username=postgres --dbname=postgres --set=ON_ERROR_STOP=1 --set=owner="$owner" \
      --set=database="$database" --set=file="$secrets/$secret" <<'SQL'
\set password `cat :'file'`
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
