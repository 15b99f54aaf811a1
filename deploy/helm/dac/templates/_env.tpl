{{/*
What every container of DAC gets: the pods, the migration Job and the test. The database stands here and nowhere else,
so that a migration can never go to another database than the services use.
*/}}
{{- define "dac.env" -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      {{- if .Values.cloudnativepg.enabled }}
      name: {{ include "dac.databaseCluster" . }}-app
      key: uri
      {{- else }}
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.urlKey }}
      {{- end }}
{{- if .Values.redis.existingSecret }}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.redis.existingSecret }}
      key: {{ .Values.redis.urlKey }}
{{- end }}
- name: DAC_MASTER_KEY_FILE
  value: /etc/dac/keys/master.key
- name: DAC_DATA_DIR
  value: /var/lib/dac
{{- if .Values.config }}
- name: DAC_CONFIG
  value: /etc/dac/config/dac.yaml
{{- end }}
- name: DAC_MEMORY_ENCRYPT_TEXT
  value: {{ .Values.encryptText | quote }}
- name: DAC_AUDIT_SEAL_PAYLOADS
  value: {{ .Values.sealPayloads | quote }}
- name: DAC_LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: DAC_LOG_FORMAT
  value: json
{{- with .Values.otlp.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* What a pod that serves gets besides; takes (dict "root" $ "group" …). */}}
{{- define "dac.serveEnv" -}}
{{- $values := .root.Values }}
{{- $mesh := .root.Files.Get "files/mesh.yaml" | fromYaml -}}
- name: DAC_MESH_LISTEN
  value: "{{ ternary "127.0.0.1" "0.0.0.0" $values.mtls.enabled }}:{{ $mesh.ports.mesh }}"
{{- with .group.calls }}
- name: DAC_MESH_ADDRESSES
  value: {{ include "dac.addresses" $ | quote }}
{{- end }}
- name: DAC_PROBE_HOST
  value: "0.0.0.0"
- name: DAC_PROBE_PORT
  value: {{ $mesh.ports.probe | quote }}
- name: DAC_MESH_LAME_DUCK_S
  value: {{ $values.lameDuckSeconds | quote }}
- name: DAC_MESH_DRAIN_S
  value: {{ $values.drainSeconds | quote }}
{{- if .group.gateway }}
- name: DAC_HTTP_HOST
  value: "0.0.0.0"
- name: DAC_HTTP_PORT
  value: {{ $mesh.ports.http | quote }}
- name: DAC_GRPC_HOST
  value: "0.0.0.0"
- name: DAC_GRPC_PORT
  value: {{ $mesh.ports.grpc | quote }}
- name: DAC_BOOTSTRAP_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "dac.bootstrapKeySecret" .root }}
      key: {{ $values.bootstrapKey.key }}
- name: DAC_OPERATOR_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "dac.operatorTokenSecret" .root }}
      key: {{ $values.operatorToken.key }}
{{- end }}
{{- with .group.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Where a group finds the services that it calls and does not hold: their pods, or with mutual TLS its own sidecar, which
takes calls on one port of loopback for each, in the table's order (mesh/envoy/groups.py counts alike).
*/}}
{{- define "dac.addresses" -}}
{{- $mesh := .root.Files.Get "files/mesh.yaml" | fromYaml }}
{{- $found := list }}
{{- range $number, $target := .group.calls }}
{{- if $.root.Values.mtls.enabled }}
{{- $found = append $found (printf "%s=127.0.0.1:%d" $target (add $mesh.ports.sidecarEgress $number)) }}
{{- else }}
{{- $found = append $found (printf "%s=dns:///%s-%s-headless:%v" $target (include "dac.fullname" $.root) $target $mesh.ports.mesh) }}
{{- end }}
{{- end }}
{{- join "," $found }}
{{- end }}

{{/* Volumes and mounts of every container of DAC. A pod that needs the master key asks for it: the Job runs before. */}}
{{- define "dac.volumes" -}}
- name: data
  emptyDir:
    sizeLimit: {{ .Values.dataDir.sizeLimit }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dac.mounts" -}}
- name: data
  mountPath: /var/lib/dac
- name: tmp
  mountPath: /tmp
{{- if .Values.config }}
- name: config
  mountPath: /etc/dac/config
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
