{{/*
The groups of pods, as a JSON list of
  {name, fullname, targets, calls: targets elsewhere that it calls, called: targets of it that others call,
   callers: groups that call it, edge, gateway, provider, router: whether it holds such a target, and its settings}.
Everything follows from the table in files/mesh.yaml: `needs` and `tells` say who calls whom.
*/}}
{{- define "dac.groups" -}}
{{- $root := . }}
{{- $mesh := .Files.Get "files/mesh.yaml" | fromYaml }}
{{- $members := dict }}
{{- $home := dict }}
{{- range $mesh.targets }}
  {{- $group := .name }}
  {{- if eq $root.Values.mode "all" }}{{ $group = "all" }}{{ else if and .edge $root.Values.edge.colocate }}{{ $group = "edge" }}{{ end }}
  {{- $_ := set $home .name $group }}
  {{- $_ := set $members $group (append (get $members $group | default list) .) }}
{{- end }}
{{- $groups := list }}
{{- range $name, $targets := $members }}
  {{- $own := get $root.Values.groups $name | default dict }}
  {{- $group := dict "name" $name "fullname" (printf "%s-%s" (include "dac.fullname" $root) $name) }}
  {{- $names := list }}{{ $calls := list }}{{ $called := list }}{{ $callers := list }}{{ $edge := false }}
  {{- range $targets }}
    {{- $names = append $names .name }}
    {{- if .edge }}{{ $edge = true }}{{ end }}
  {{- end }}
  {{- range $mesh.targets }}
    {{- $caller := .name }}
    {{- range concat .needs .tells }}
      {{- if and (has $caller $names) (not (has . $names)) }}{{ $calls = append $calls . }}{{ end }}
      {{- if and (has . $names) (not (has $caller $names)) }}
        {{- $called = append $called . }}
        {{- $callers = append $callers (get $home $caller) }}
      {{- end }}
    {{- end }}
  {{- end }}
  {{- $_ := set $group "targets" $names }}
  {{- $ordered := list }}
  {{- range $mesh.targets }}
    {{- if has .name $calls }}{{ $ordered = append $ordered .name }}{{ end }}
  {{- end }}
  {{- $_ := set $group "calls" $ordered }}
  {{- $_ := set $group "called" ($called | uniq | sortAlpha) }}
  {{- $_ := set $group "callers" ($callers | uniq | sortAlpha) }}
  {{- $_ := set $group "edge" $edge }}
  {{- range $kind := list "gateway" "provider" "router" }}
    {{- $_ := set $group $kind (has $kind $names) }}
  {{- end }}
  {{- range $key := list "replicaCount" "resources" "podAnnotations" "podLabels" "nodeSelector" "tolerations" "affinity" "priorityClassName" "topologySpreadConstraints" }}
    {{- $_ := set $group $key (ternary (get $own $key) (get $root.Values $key) (hasKey $own $key)) }}
  {{- end }}
  {{- $_ := set $group "extraEnv" (concat $root.Values.extraEnv (get $own "extraEnv" | default list)) }}
  {{- $scaling := deepCopy $root.Values.autoscaling }}
  {{- if not $edge }}{{ $_ := set $scaling "enabled" false }}{{ end }}
  {{- $_ := set $group "autoscaling" (mergeOverwrite $scaling (get $own "autoscaling" | default dict)) }}
  {{- $groups = append $groups $group }}
{{- end }}
{{- toJson $groups }}
{{- end }}

{{/* The group that callers come to. */}}
{{- define "dac.front" -}}
{{- range (include "dac.groups" . | fromJsonArray) }}
{{- if .gateway }}{{ toJson . }}{{ end }}
{{- end }}
{{- end }}

{{/* The fewest pods that a group runs; takes (dict "root" $ "group" …). */}}
{{- define "dac.fewest" -}}
{{- if and .root.Values.keda.enabled .group.gateway }}
{{- .root.Values.keda.minReplicas }}
{{- else if .group.autoscaling.enabled }}
{{- .group.autoscaling.minReplicas }}
{{- else }}
{{- .group.replicaCount }}
{{- end }}
{{- end }}
