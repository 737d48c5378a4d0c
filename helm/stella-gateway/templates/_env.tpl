{{/* The environment of the gateway's processes: settings as values, secrets as references. */}}

{{/* (dict "name" "GATEWAY_SECRET" "of" .Values.secrets.gateway) */}}
{{- define "gateway.secretEnv" -}}
{{- if .of.existingSecret }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ .of.existingSecret | quote }}, key: {{ .of.key | quote }}}
{{- end }}
{{- end -}}

{{/* Of every process: (dict "root" $ "role" "data" "component" "data" "values" .Values.dataPlane) */}}
{{- define "gateway.env" -}}
{{- $root := .root -}}
{{- $secrets := $root.Values.secrets -}}
{{- $isControl := ne .role "data" -}}
- {name: GATEWAY_ROLE, value: {{ .role }}}
- {name: GATEWAY_PUBLIC_URL, value: {{ $root.Values.publicUrl | trimSuffix "/" | quote }}}
- {name: GATEWAY_ADMIN_URL, value: {{ $root.Values.publicUrl | trimSuffix "/" | quote }}}
- {name: GATEWAY_ADMIN_HOST, value: 0.0.0.0}
- {name: GATEWAY_ADMIN_PORT, value: "8081"}
- {name: GATEWAY_GATEWAYS, value: {{ include "gateway.count" $root | quote }}}
{{- if eq .component "data" }}
- {name: GATEWAY_JOURNAL_PATH, value: /var/lib/gateway/journal}
{{- end }}
{{- with include "gateway.workerList" $root }}
- {name: GATEWAY_WORKERS, value: {{ . | quote }}}
{{- end }}
{{- if $root.Values.workers.ca.existingSecret }}
- {name: GATEWAY_WORKER_CA, value: /etc/gateway/workers/ca.crt}
{{- end }}
{{- if and (or $root.Values.ingress.enabled $root.Values.httpRoute.enabled) (not (hasKey $root.Values.settings "GATEWAY_TRUSTED_PROXIES")) }}
- {name: GATEWAY_TRUSTED_PROXIES, value: "1"}
{{- end }}
{{- range $name, $value := $root.Values.settings }}
{{- /* what sells and mails is the control plane's alone */}}
{{- if or $isControl (not (regexMatch "^GATEWAY_(STRIPE|GITHUB|MAIL|SELLER|TERMS|SMTP)" $name)) }}
- {name: {{ $name }}, value: {{ include "gateway.plain" $value | quote }}}
{{- end }}
{{- end }}
{{- include "gateway.secretEnv" (dict "name" "GATEWAY_SECRET" "of" $secrets.gateway) }}
{{- include "gateway.secretEnv" (dict "name" "GATEWAY_RECEIPT_SECRET" "of" $secrets.receipt) }}
{{- include "gateway.secretEnv" (dict "name" "DATABASE_URL" "of" $secrets.database) }}
{{- include "gateway.secretEnv" (dict "name" "REDIS_URL" "of" $secrets.redis) }}
{{- include "gateway.secretEnv" (dict "name" "GATEWAY_WORKER_SECRET" "of" $secrets.worker) }}
{{- include "gateway.secretEnv" (dict "name" "GATEWAY_METRICS_TOKEN" "of" $secrets.metrics) }}
{{- if $isControl }}
{{- include "gateway.secretEnv" (dict "name" "GATEWAY_SMTP_URL" "of" $secrets.smtp) }}
{{- include "gateway.secretEnv" (dict "name" "GATEWAY_GITHUB_CLIENT_SECRET" "of" $secrets.github) }}
{{- include "gateway.secretEnv" (dict "name" "GATEWAY_STRIPE_SECRET_KEY" "of" $secrets.stripe) }}
{{- include "gateway.secretEnv" (dict "name" "GATEWAY_STRIPE_WEBHOOK_SECRETS" "of" $secrets.stripeWebhook) }}
{{- end }}
{{- include "gateway.tracingEnv" (dict "root" $root "service" (printf "gateway-%s" .role)) }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The standard variables of OpenTelemetry. */}}
{{- define "gateway.tracingEnv" -}}
{{- with .root.Values.monitoring.tracing }}
{{- if .otlpEndpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .otlpEndpoint | quote }}}
- {name: OTEL_EXPORTER_OTLP_PROTOCOL, value: http/protobuf}
- {name: OTEL_SERVICE_NAME, value: {{ $.service }}}
- {name: OTEL_TRACES_SAMPLER, value: {{ .sampler }}}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .samplerArgument | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* How many gateways share the workers: pods of both planes, for each dispatches. */}}
{{- define "gateway.count" -}}
{{- $data := .Values.dataPlane -}}
{{- $control := .Values.controlPlane -}}
{{- $pods := ternary $data.autoscaling.minReplicas $data.replicas $data.autoscaling.enabled | int64 -}}
{{- if include "gateway.hasControl" . -}}
{{- $pods = add $pods (ternary $control.autoscaling.minReplicas $control.replicas $control.autoscaling.enabled | int64) -}}
{{- end -}}
{{- $pods -}}
{{- end -}}

{{/* GATEWAY_WORKERS: each pool by the name of its headless Service, then the external ones. */}}
{{- define "gateway.workerList" -}}
{{- $found := list -}}
{{- range $name := keys .Values.workers.pools | sortAlpha -}}
{{- $pool := include "gateway.pool" (list $ $name) | fromJson -}}
{{- $found = append $found (printf "%s=dns+%s" $pool.model (include "gateway.poolUrl" (list $ $name $pool))) -}}
{{- end -}}
{{- concat $found .Values.workers.external | join " " -}}
{{- end -}}
