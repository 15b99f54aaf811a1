#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, once: sh deploy/compose/init.sh
# A file that is there is kept, so running it again is safe. Keep a copy of secrets/master_key: without it no API key
# can be checked and no stored provider key opened.
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
# Nobody else on this machine gets into the folder. The files are readable, because the programs in the containers
# run as other users.
mkdir -p "$folder"
chmod 0700 "$folder"

hex() { # BYTES
  head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

letters() { # COUNT
  LC_ALL=C tr -dc A-Za-z0-9 < /dev/urandom | head -c "$1"
}

make() { # NAME TEXT
  [ -e "$folder/$1" ] && return
  printf '%s\n' "$2" > "$folder/.new"
  chmod 0444 "$folder/.new"
  mv "$folder/.new" "$folder/$1"
  echo "made $folder/$1"
}

make master_key "$(hex 32)"
make postgres_password "$(hex 24)"
make dac_owner_password "$(hex 24)"
make dac_password "$(hex 24)"
make valkey_password "$(hex 24)"
make weaviate_api_key "$(hex 24)"
make grafana_password "$(hex 12)"
make bootstrap_api_key "dac_live_$(letters 12)_$(letters 43)"
make operator_token "dac_live_$(letters 12)_$(letters 43)"
# For Envoy (--profile edge): put your own certificate there instead.
if [ ! -e "$folder/tls.key" ] && command -v openssl > /dev/null; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=localhost \
    -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -keyout "$folder/.key" -out "$folder/tls.crt" 2> /dev/null
  chmod 0444 "$folder/.key" "$folder/tls.crt"
  mv "$folder/.key" "$folder/tls.key"
  echo "made $folder/tls.crt, which signs itself, and $folder/tls.key"
fi
# Made of the above; for a database of your own write its addresses here.
make database_url "postgresql://dac:$(cat "$folder/dac_password")@postgres:5432/dac"
make database_owner_url "postgresql://dac_owner:$(cat "$folder/dac_owner_password")@postgres:5432/dac"
make redis_url "redis://:$(cat "$folder/valkey_password")@valkey:6379/0"
make valkey.conf "requirepass $(cat "$folder/valkey_password")
save \"\"
appendonly no
maxmemory 128mb
maxmemory-policy allkeys-lru"
echo "your first API key stands in $folder/bootstrap_api_key"
