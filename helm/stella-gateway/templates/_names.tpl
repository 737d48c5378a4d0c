{{/* Names and labels. `component` is data, control, migration, worker or test. */}}

{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release: a selector can't. (dict "root" $ "component" "data") */}}
{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .pool }}
stella-gateway/pool: {{ . }}
{{- end }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* (dict "root" $ "image" .Values.image.gateway) */}}
{{- define "gateway.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{/* There is an image of each engine, told apart by its tag. (dict "root" $ "pool" $pool) */}}
{{- define "gateway.workerImage" -}}
{{- $image := .root.Values.image.worker -}}
{{- if .pool.image -}}
{{ .pool.image }}
{{- else -}}
{{ $image.repository }}:{{ .pool.engine }}-{{ default .root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* Whether the control plane has pods of its own. */}}
{{- define "gateway.hasControl" -}}
{{- if eq .Values.mode "planes" }}true{{ end -}}
{{- end -}}

{{/* A number as an integer: values are floats, and 268435456 would print as 2.68435456e+08. */}}
{{- define "gateway.plain" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ printf "%d" (int64 .) }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* A setting in seconds, rounded up, with the gateway's default. (list $ "GATEWAY_X" 30) */}}
{{- define "gateway.seconds" -}}
{{- $set := dig (index . 1) nil (index . 0).Values.settings -}}
{{- ternary (index . 2) $set (kindIs "invalid" $set) | float64 | ceil | int64 -}}
{{- end -}}

{{/* A pool with what it doesn't say itself. (list $ "name") yields JSON. */}}
{{- define "gateway.pool" -}}
{{- $root := index . 0 -}}
{{- mustMergeOverwrite (deepCopy $root.Values.workers.poolDefaults) (index $root.Values.workers.pools (index . 1)) | toJson -}}
{{- end -}}

{{- define "gateway.poolName" -}}
{{ include "gateway.fullname" (index . 0) }}-worker-{{ index . 1 }}
{{- end -}}

{{/* Where gateways find a pool: what a worker's key and certificate are made for. (list $ "name" $pool) */}}
{{- define "gateway.poolUrl" -}}
{{ ternary "https" "http" (ne (index . 2).tlsSecret "") }}://{{ include "gateway.poolName" . }}:9000
{{- end -}}
