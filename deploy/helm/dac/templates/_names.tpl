{{- define "dac.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Names of objects begin with this; 40 characters leave room for "-provider-headless". */}}
{{- define "dac.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "dac.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What selects the pods of a component; takes (dict "root" $ "component" "edge"). */}}
{{- define "dac.selector" -}}
app.kubernetes.io/name: {{ include "dac.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of pods: nothing that a new version of the chart would change, or it would restart them all. */}}
{{- define "dac.podLabels" -}}
{{ include "dac.selector" . }}
app.kubernetes.io/part-of: dac
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dac.labels" -}}
{{ include "dac.podLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The image; takes (dict "root" $ "tag" … "digest" …). */}}
{{- define "dac.image" -}}
{{- $root := .root }}
{{- if .digest -}}
{{ $root.Values.image.repository }}@{{ .digest }}
{{- else -}}
{{ $root.Values.image.repository }}:{{ .tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "dac.databaseCluster" -}}
{{ include "dac.fullname" . }}-db
{{- end }}

{{/* The Secret with the keys that this chart makes. */}}
{{- define "dac.keysSecret" -}}
{{ include "dac.fullname" . }}-keys
{{- end }}

{{- define "dac.masterKeySecret" -}}
{{ .Values.masterKey.existingSecret | default (include "dac.keysSecret" .) }}
{{- end }}

{{- define "dac.bootstrapKeySecret" -}}
{{ .Values.bootstrapKey.existingSecret | default (include "dac.keysSecret" .) }}
{{- end }}

{{- define "dac.operatorTokenSecret" -}}
{{ .Values.operatorToken.existingSecret | default (include "dac.keysSecret" .) }}
{{- end }}

{{/* The account of a component; takes (dict "root" $ "component" "edge"). */}}
{{- define "dac.serviceAccount" -}}
{{- if .root.Values.serviceAccount.create }}
{{- printf "%s-%s" (include "dac.fullname" .root) .component }}
{{- else -}}
default
{{- end }}
{{- end }}

{{/* Whether migrations can run before the release's objects: not when the database is one of them. */}}
{{- define "dac.migratesFirst" -}}
{{- if and .Values.migration.enabled (not .Values.cloudnativepg.enabled) }}true{{ end }}
{{- end }}
