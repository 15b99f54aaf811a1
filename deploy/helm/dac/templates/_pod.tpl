{{/*
One Deployment; takes (dict "root" $ "group" … "fullname" … "track" "stable" "tag" … "digest" … "replicas" …).
`app` is unique for each Deployment: Flagger selects by it. Everything else selects by component.
*/}}
{{- define "dac.deployment" -}}
{{- $root := .root }}
{{- $values := $root.Values }}
{{- $group := .group }}
{{- $component := dict "root" $root "component" $group.name }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .fullname }}
  labels:
    {{- include "dac.labels" $component | nindent 4 }}
spec:
  {{- if .replicas }}
  replicas: {{ .replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 25%}
  selector:
    matchLabels:
      app: {{ .fullname }}
      {{- include "dac.selector" $component | nindent 6 }}
  template:
    metadata:
      labels:
        app: {{ .fullname }}
        track: {{ .track }}
        {{- include "dac.podLabels" $component | nindent 8 }}
        {{- with $group.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: dac
        {{- if $values.config }}
        checksum/config: {{ toYaml $values.config | sha256sum }}
        {{- end }}
        {{- if $values.mtls.enabled }}
        checksum/envoy: {{ include "dac.envoy.sidecarConfig" (dict "root" $root "group" $group) | sha256sum }}
        {{- end }}
        {{- with $group.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "dac.serviceAccount" $component }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with $values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $group.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext:
        {{- toYaml $values.podSecurityContext | nindent 8 }}
      terminationGracePeriodSeconds: {{ include "dac.graceSeconds" $root }}
      {{- if $values.mtls.enabled }}
      initContainers:
        {{- include "dac.envoy.sidecar" $root | nindent 8 }}
      {{- end }}
      containers:
        - name: dac
          image: {{ include "dac.image" . }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          args: [serve, "--target={{ join "," $group.targets }}"]
          securityContext:
            {{- toYaml $values.containerSecurityContext | nindent 12 }}
          env:
            {{- include "dac.env" $root | nindent 12 }}
            {{- include "dac.serveEnv" (dict "root" $root "group" $group) | nindent 12 }}
          {{- $sources := $values.extraEnvFrom }}
          {{- if and $group.provider $values.providers.existingSecret }}
          {{- $sources = append $sources (dict "secretRef" (dict "name" $values.providers.existingSecret)) }}
          {{- end }}
          {{- with $sources }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            {{- include "dac.ports" (dict "root" $root "group" $group) | nindent 12 }}
          {{- include "dac.probes" (dict "root" $root "group" $group) | nindent 10 }}
          resources:
            {{- toYaml $group.resources | nindent 12 }}
          volumeMounts:
            {{- include "dac.mounts" $root | nindent 12 }}
            - name: master-key
              mountPath: /etc/dac/keys
              readOnly: true
      volumes:
        {{- include "dac.volumes" $root | nindent 8 }}
        - name: master-key
          secret:
            secretName: {{ include "dac.masterKeySecret" $root }}
            defaultMode: 0440
            items: [{key: {{ $values.masterKey.key }}, path: master.key}]
        {{- if $values.config }}
        - name: config
          configMap:
            name: {{ include "dac.fullname" $root }}-config
        {{- end }}
        {{- if $values.mtls.enabled }}
        {{- include "dac.envoy.volumes" (dict "configMap" (printf "%s-envoy" $group.fullname) "secret" (include "dac.envoy.certificateSecret" (dict "root" $root "group" $group))) | nindent 8 }}
        {{- end }}
      {{- with $group.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $group.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $group.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- if $group.topologySpreadConstraints }}
        {{- toYaml $group.topologySpreadConstraints | nindent 8 }}
        {{- else }}
        {{- include "dac.spread" $component | nindent 8 }}
        {{- end }}
{{- end }}

{{- define "dac.spread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "dac.selector" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{/* Ten seconds more than DAC itself takes to stop, for flushing and closing. */}}
{{- define "dac.graceSeconds" -}}
{{ add .Values.lameDuckSeconds .Values.drainSeconds 10 }}
{{- end }}

{{- define "dac.ports" -}}
{{- $ports := (.root.Files.Get "files/mesh.yaml" | fromYaml).ports -}}
- {name: probe, containerPort: {{ $ports.probe }}}
{{- if not .root.Values.mtls.enabled }}
- {name: mesh, containerPort: {{ $ports.mesh }}}
{{- end }}
{{- if .group.gateway }}
- {name: http, containerPort: {{ $ports.http }}}
- {name: grpc, containerPort: {{ $ports.grpc }}}
{{- end }}
{{- end }}

{{/*
Readiness asks gRPC health, which is "can do its work": it waits for the database and for needed services, so a start
may take a minute. Liveness asks /live of the probe port, which looks at nothing but the process: with a database in it,
an outage of the database would restart every pod. With mutual TLS gRPC listens on loopback, where kubelet cannot ask,
so /ready of the probe port answers in its place: it is the same question.
*/}}
{{- define "dac.probes" -}}
{{- $ports := (.root.Files.Get "files/mesh.yaml" | fromYaml).ports }}
{{- $service := ternary (first .group.targets) "" (eq (len .group.targets) 1) }}
{{- $work := printf "grpc: {port: %v, service: %q}" $ports.mesh $service }}
{{- if .root.Values.mtls.enabled }}{{ $work = "httpGet: {port: probe, path: /ready}" }}{{ end -}}
startupProbe:
  {{ $work }}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 60
readinessProbe:
  {{ $work }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {port: probe, path: /live}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
{{- end }}
