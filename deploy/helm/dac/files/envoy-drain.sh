# Usage: drain.sh LAME_DUCK_S DRAIN_S. Asks Envoy's admin port; needs no program but bash.
ask() {
  exec 3<> /dev/tcp/127.0.0.1/9901 || exit 0
  printf '%s HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n' "$1" >&3
  local line
  while IFS= read -r line <&3 || [[ -n $line ]]; do printf '%s\n' "$line"; done
  exec 3>&-
}
ask 'POST /healthcheck/fail' > /dev/null
sleep "$1"
end=$((SECONDS + $2))
while ((SECONDS < end)); do
  [[ $(ask 'GET /stats?filter=^http.edge.downstream_rq_active$') == *'downstream_rq_active: 0'* ]] && exit 0
  sleep 1
done
