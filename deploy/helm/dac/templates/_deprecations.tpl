{{/* Keys that are gone fail with what to use instead; the list is files/removed.yaml. */}}
{{- define "dac.deprecations" -}}
{{- range $path, $instead := .Files.Get "files/removed.yaml" | fromYaml }}
  {{- $at := $.Values }}
  {{- $there := true }}
  {{- range $name := splitList "." $path }}
    {{- if and $there (kindIs "map" $at) (hasKey $at $name) }}
      {{- $at = get $at $name }}
    {{- else }}
      {{- $there = false }}
    {{- end }}
  {{- end }}
  {{- if $there }}
    {{- fail (printf "\n\n%s is not a value of this chart: %s.\n" $path $instead) }}
  {{- end }}
{{- end }}
{{- end }}
