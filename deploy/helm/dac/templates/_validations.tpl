{{/* Combinations that cannot work fail here, each with a sentence. */}}
{{- define "dac.validations" -}}
{{- $v := .Values }}
{{- $mesh := .Files.Get "files/mesh.yaml" | fromYaml }}
{{- if and (not $v.database.existingSecret) (not $v.cloudnativepg.enabled) }}
  {{- include "dac.refuse" "database.existingSecret is empty: DAC needs a PostgreSQL. Name a Secret that holds its URL, or set cloudnativepg.enabled where the CloudNativePG operator runs" }}
{{- end }}
{{- if and $v.database.existingSecret $v.cloudnativepg.enabled }}
  {{- include "dac.refuse" "database.existingSecret and cloudnativepg.enabled are both set: choose the database that DAC uses" }}
{{- end }}
{{- if and $v.autoscaling.enabled $v.keda.enabled }}
  {{- include "dac.refuse" "autoscaling.enabled and keda.enabled are both set: KEDA makes an HPA of its own, and two would fight. Choose one" }}
{{- end }}
{{- if and $v.keda.enabled (not $v.keda.prometheusAddress) }}
  {{- include "dac.refuse" "keda.prometheusAddress is empty: say where the Prometheus is that scrapes DAC" }}
{{- end }}
{{- if and $v.keda.enabled (gt (int $v.keda.minReplicas) (int $v.keda.maxReplicas)) }}
  {{- include "dac.refuse" "keda.minReplicas is above keda.maxReplicas" }}
{{- end }}
{{- range $kind := list "httpRoute" "grpcRoute" }}
  {{- $route := get $v $kind }}
  {{- if and $route.enabled (not $route.parentRefs) }}
    {{- include "dac.refuse" (printf "%s.parentRefs is empty: name the Gateway that the route belongs to" $kind) }}
  {{- end }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}
  {{- include "dac.refuse" "ingress.hosts is empty: name at least one host" }}
{{- end }}
{{- include "dac.validateLimits" . }}
{{- include "dac.validateCanary" . }}
{{- include "dac.validateMtls" . }}
{{- include "dac.validateEnv" (dict "env" $v.extraEnv "where" "extraEnv" "mesh" $mesh) }}
{{- include "dac.validateGroups" . }}
{{- range $section, $fields := $v.config }}
  {{- if kindIs "map" $fields }}
    {{- range $field, $_ := $fields }}
      {{- $instead := get $mesh.ownedFields (printf "%s.%s" $section $field) }}
      {{- if $instead }}
        {{- include "dac.refuse" (printf "config.%s.%s is set by the chart: %s" $section $field $instead) }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "dac.refuse" -}}
{{- fail (printf "\n\n%s.\n" .) }}
{{- end }}

{{/* What stands in front of the gateway must not cut off what the gateway allows. */}}
{{- define "dac.validateLimits" -}}
{{- $limits := (.Files.Get "files/mesh.yaml" | fromYaml).limits }}
{{- $own := (.Values.config).gateway | default dict }}
{{- $longest := $limits.request_timeout_s }}
{{- if hasKey $own "request_timeout_s" }}{{ $longest = $own.request_timeout_s }}{{ end }}
{{- if .Values.httpRoute.enabled }}
  {{- $text := .Values.httpRoute.timeout }}
  {{- $number := regexFind "^[0-9]+" $text | float64 }}
  {{- $factor := get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) (regexFind "[a-z]+$" $text) }}
  {{- if lt (mulf $number $factor) (float64 $longest) }}
    {{- include "dac.refuse" (printf "httpRoute.timeout is %s, and config.gateway.request_timeout_s allows answers of %v s: the Gateway would cut them off" $text $longest) }}
  {{- end }}
{{- end }}
{{- if .Values.envoy.enabled }}
  {{- range $name, $limit := $limits }}
    {{- if and (hasKey $own $name) (gt (float64 (get $own $name)) (float64 $limit)) }}
      {{- include "dac.refuse" (printf "config.gateway.%s is %.0f, and the Envoy of envoy.enabled allows %.0f: raise it no further, or make your own Envoy's configuration with dac envoy edge" $name (float64 (get $own $name)) (float64 $limit)) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "dac.validateCanary" -}}
{{- $v := .Values }}
{{- if and $v.canary.enabled $v.canary.flagger.enabled }}
  {{- include "dac.refuse" "canary.enabled and canary.flagger.enabled are both set: Flagger makes its own second Deployment. Choose one" }}
{{- end }}
{{- if $v.canary.enabled }}
  {{- if not (or $v.canary.image.tag $v.canary.image.digest) }}
    {{- include "dac.refuse" "canary.image.tag is empty: name the new image that takes a part of the calls" }}
  {{- end }}
  {{- if not $v.httpRoute.enabled }}
    {{- include "dac.refuse" "canary.enabled needs httpRoute.enabled: an HTTPRoute is what divides the calls by canary.weight" }}
  {{- end }}
{{- end }}
{{- if $v.canary.flagger.enabled }}
  {{- if not $v.httpRoute.enabled }}
    {{- include "dac.refuse" "canary.flagger.enabled needs httpRoute.enabled with parentRefs and hostnames: Flagger makes its HTTPRoute from them" }}
  {{- end }}
  {{- if not $v.canary.flagger.prometheusAddress }}
    {{- include "dac.refuse" "canary.flagger.prometheusAddress is empty: say where the Prometheus is that scrapes DAC" }}
  {{- end }}
  {{- if not (or $v.autoscaling.enabled $v.keda.enabled) }}
    {{- include "dac.refuse" "canary.flagger.enabled needs autoscaling.enabled or keda.enabled: Flagger stops and starts the pods of the edge, and a fixed number of them would be set again by every upgrade" }}
  {{- end }}
  {{- if eq $v.mode "all" }}
    {{- include "dac.refuse" "canary.flagger.enabled needs mode services: Flagger stops the Deployment it watches between releases, and budgets must not stop with it" }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "dac.validateMtls" -}}
{{- $m := .Values.mtls }}
{{- if $m.enabled }}
  {{- if eq .Values.mode "all" }}
    {{- include "dac.refuse" "mtls.enabled needs mode services: with mode all no call leaves a pod" }}
  {{- end }}
  {{- if and $m.certManager.enabled (not $m.certManager.issuerRef.name) }}
    {{- include "dac.refuse" "mtls.certManager.issuerRef.name is empty: name the issuer of a private authority" }}
  {{- end }}
  {{- if not $m.certManager.enabled }}
    {{- range (include "dac.groups" . | fromJsonArray) }}
      {{- if not (get $m.existingSecrets .name) }}
        {{- include "dac.refuse" (printf "mtls.existingSecrets.%s is missing: name a Secret with tls.crt, tls.key and ca.crt for each group, or set mtls.certManager.enabled" .name) }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- if and (or $m.enabled .Values.envoy.enabled) (or (not (dig "limits" "memory" "" $m.resources)) (not (dig "limits" "memory" "" .Values.envoy.resources))) }}
  {{- include "dac.refuse" "mtls.resources.limits.memory and envoy.resources.limits.memory must be set: Envoy refuses calls before it reaches them" }}
{{- end }}
{{- end }}

{{- define "dac.validateGroups" -}}
{{- $mesh := .Files.Get "files/mesh.yaml" | fromYaml }}
{{- $known := list }}
{{- range (include "dac.groups" . | fromJsonArray) }}
  {{- $known = append $known .name }}
  {{- $where := ternary "autoscaling" (printf "groups.%s.autoscaling" .name) .edge }}
  {{- if .autoscaling.enabled }}
    {{- if gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas) }}
      {{- include "dac.refuse" (printf "%s.minReplicas is above %s.maxReplicas" $where $where) }}
    {{- end }}
    {{- $cpu := gt (int .autoscaling.targetCPUUtilizationPercentage) 0 }}
    {{- if and (not $cpu) (not (and .gateway .autoscaling.targetActiveStreams)) }}
      {{- include "dac.refuse" (printf "%s.targetCPUUtilizationPercentage is 0 and there is no other measure for the group %s: set it, or targetActiveStreams for the gateway's group" $where .name) }}
    {{- end }}
    {{- if and $cpu (not (dig "requests" "cpu" "" .resources)) }}
      {{- include "dac.refuse" (printf "%s.enabled scales the group %s by CPU, but its resources.requests.cpu is not set: percent of what" $where .name) }}
    {{- end }}
  {{- end }}
  {{- include "dac.validateEnv" (dict "env" .extraEnv "where" (printf "groups.%s.extraEnv" .name) "mesh" $mesh) }}
{{- end }}
{{- range $name, $_ := .Values.groups }}
  {{- if not (has $name $known) }}
    {{- include "dac.refuse" (printf "groups.%s has no pods with mode %s and edge.colocate %t: the groups are %s" $name $.Values.mode $.Values.edge.colocate (join ", " $known)) }}
  {{- end }}
{{- end }}
{{- end }}

{{/* A variable that DAC does not know would change nothing and nobody would notice. */}}
{{- define "dac.validateEnv" -}}
{{- range .env }}
  {{- $instead := get $.mesh.owned .name }}
  {{- if $instead }}
    {{- include "dac.refuse" (printf "%s: %s is set by the chart: %s" $.where .name $instead) }}
  {{- end }}
  {{- if and (hasPrefix "DAC_" .name) (not (has .name $.mesh.variables)) }}
    {{- include "dac.refuse" (printf "%s: DAC knows no variable %s; docs/configuration.md lists them" $.where .name) }}
  {{- end }}
{{- end }}
{{- end }}
