{{/*
What the schema can't see: values that contradict each other. All mistakes are told at once, each with
what to do. Included by checks.yaml, which renders nothing.
*/}}
{{- define "gateway.mistakes" -}}
{{- $values := .Values -}}
{{- $secrets := $values.secrets -}}
{{- $data := $values.dataPlane -}}
{{- $control := $values.controlPlane -}}
{{- $hasControl := include "gateway.hasControl" . -}}
{{- $isHttps := hasPrefix "https://" $values.publicUrl -}}
{{- if not $values.publicUrl }}
publicUrl is empty: give the address that clients use, such as https://gateway.example
{{- end }}
{{- if not $secrets.gateway.existingSecret }}
secrets.gateway.existingSecret is empty: name a Secret that holds GATEWAY_SECRET, 32 random bytes from `openssl rand -hex 32`
{{- end }}
{{- if not $secrets.database.existingSecret }}
secrets.database.existingSecret is empty: name a Secret that holds DATABASE_URL, postgresql://user:password@host/name; the chart brings no database (examples/ has one)
{{- end }}
{{- if and (or $values.workers.pools $values.workers.external) (not $secrets.worker.existingSecret) }}
secrets.worker.existingSecret is empty, and there are workers: name a Secret that holds GATEWAY_WORKER_SECRET, with which gateways and workers prove who they are
{{- end }}
{{- if and (or $data.autoscaling.enabled (and $hasControl $control.autoscaling.enabled)) (not $secrets.redis.existingSecret) }}
secrets.redis.existingSecret is empty, and autoscaling is on: without Valkey or Redis, gateways can't tell how many of them share the workers
{{- end }}
{{- $planes := dict "dataPlane" $data }}
{{- if $hasControl }}{{ $_ := set $planes "controlPlane" $control }}{{ end }}
{{- range $name, $plane := $planes }}
{{- if and $plane.autoscaling.enabled (gt (int64 $plane.autoscaling.minReplicas) (int64 $plane.autoscaling.maxReplicas)) }}
{{ $name }}.autoscaling: minReplicas {{ int64 $plane.autoscaling.minReplicas }} is more than maxReplicas {{ int64 $plane.autoscaling.maxReplicas }}
{{- end }}
{{- $least := include "gateway.graceLeast" (list $ $plane) | int64 }}
{{- if lt (include "gateway.grace" (list $ $plane) | int64) $least }}
{{ $name }}.terminationGracePeriodSeconds is too short: requests would be lost. Leave it null, or give {{ $least }} or more: preStopSeconds, GATEWAY_DRAIN_SECONDS, GATEWAY_REQUEST_TIMEOUT_SECONDS and 15
{{- end }}
{{- end }}
{{- $journals := mul 2 (int64 $data.processes) (include "gateway.seconds" (list . "GATEWAY_JOURNAL_BYTES_MAX" 268435456) | int64) }}
{{- if lt (mul (int64 $data.journal.gibibytes) 1073741824) $journals }}
dataPlane.journal.gibibytes is too small: {{ int64 $data.processes }} process(es) write GATEWAY_JOURNAL_BYTES_MAX each, beside as much that a pod before may have left: {{ $journals }} bytes
{{- end }}
{{- if lt (include "gateway.seconds" (list . "GATEWAY_LEASE_SECONDS" 90) | int64) (mul 2 (include "gateway.seconds" (list . "GATEWAY_REQUEST_TIMEOUT_SECONDS" 30) | int64)) }}
settings: GATEWAY_LEASE_SECONDS must be at least twice GATEWAY_REQUEST_TIMEOUT_SECONDS: a lease must outlive its requests
{{- end }}
{{- $isLive := dig "GATEWAY_STRIPE_LIVE" false $values.settings }}
{{- if and $isLive (not $secrets.stripe.existingSecret) }}
settings: GATEWAY_STRIPE_LIVE is true, and secrets.stripe.existingSecret names no key of Stripe's
{{- end }}
{{- range $name := list "GATEWAY_SELLER" "GATEWAY_TERMS" "GATEWAY_SUPPORT" }}
{{- if and $isLive (not (dig $name "" $values.settings)) }}
settings: {{ $name }} is missing: buyers are shown it where payments move money (GATEWAY_STRIPE_LIVE)
{{- end }}
{{- end }}
{{- if and $isLive (not $isHttps) }}
publicUrl must be https:// where payments move money (GATEWAY_STRIPE_LIVE)
{{- end }}
{{- if and $secrets.stripeWebhook.existingSecret (not $secrets.stripe.existingSecret) }}
secrets.stripeWebhook needs secrets.stripe: events are nothing without the key that reads payments
{{- end }}
{{- if ne (not $secrets.github.existingSecret) (not (dig "GATEWAY_GITHUB_CLIENT_ID" "" $values.settings)) }}
settings: GATEWAY_GITHUB_CLIENT_ID and secrets.github go together: give both, or neither
{{- end }}
{{- if and $values.ingress.enabled $values.httpRoute.enabled }}
ingress.enabled and httpRoute.enabled: choose one, they would compete for the host
{{- end }}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) }}
httpRoute.parentRefs is empty: name the Gateway that the route belongs to, such as [{name: public, namespace: gateways}]
{{- end }}
{{- if and $values.ingress.enabled $isHttps (not $values.ingress.tlsSecret) (not $values.ingress.annotations) }}
ingress.tlsSecret is empty, and publicUrl is https: name a Secret with the certificate, or say by ingress.annotations who else ends TLS
{{- end }}
{{- if and $values.backOffice.exposed (not (or $values.ingress.enabled $values.httpRoute.enabled)) }}
backOffice.exposed does nothing without ingress.enabled or httpRoute.enabled
{{- end }}
{{- if and $values.backOffice.exposed $values.networkPolicy.enabled (not $values.networkPolicy.operators) }}
backOffice.exposed is stopped by networkPolicy: name the ingress controller in networkPolicy.operators too
{{- end }}
{{- $host := (urlParse $values.publicUrl).host | splitList ":" | first }}
{{- if and (or $values.ingress.enabled $values.httpRoute.enabled) (regexMatch "^([0-9.]+|localhost|\\[.*)$" $host) }}
publicUrl: {{ $host }} can't be routed to, a route is for the name of a host
{{- end }}
{{- range $variable := $values.extraEnv }}
{{- if or (hasPrefix "GATEWAY_" .name) (has .name (list "DATABASE_URL" "REDIS_URL")) }}
extraEnv: {{ .name }} belongs to `settings`, or to `secrets` if it is one
{{- end }}
{{- end }}
{{- range $name := keys $values.workers.pools | sortAlpha }}
{{- $pool := include "gateway.pool" (list $ $name) | fromJson }}
{{- $where := printf "workers.pools.%s" $name }}
{{- $isStella := eq $pool.engine "stella" }}
{{- if and $isStella (not $pool.weights.hub) (not $pool.weights.existingClaim) }}
{{ $where }}.weights: say where Stella's weights are, a hub's id (hub) or a claim that holds them (existingClaim)
{{- end }}
{{- if and $pool.weights.hub $pool.weights.existingClaim }}
{{ $where }}.weights: hub and existingClaim exclude each other
{{- end }}
{{- if and $pool.weights.hub (ne $pool.weights.hub "NovaSearch/stella_en_400M_v5") (not $pool.weights.revision) }}
{{ $where }}.weights.revision is empty: pin {{ $pool.weights.hub }} to a full commit, for a branch changes under a running pool
{{- end }}
{{- if and (eq $pool.engine "minilm") (ne $pool.model "sentence-transformers/all-MiniLM-L6-v2") }}
{{ $where }}.model is {{ $pool.model }}, and the engine minilm serves sentence-transformers/all-MiniLM-L6-v2 alone
{{- end }}
{{- if and (not $isStella) (gt (int64 $pool.gpus) 0) }}
{{ $where }}.gpus: the engine {{ $pool.engine }} computes on a CPU and would leave them idle
{{- end }}
{{- if and $pool.autoscaling.enabled (not $values.monitoring.prometheusUrl) }}
{{ $where }}.autoscaling needs monitoring.prometheusUrl: KEDA asks that Prometheus for gateway_backlog_seconds
{{- end }}
{{- if and $pool.autoscaling.enabled (gt (int64 $pool.autoscaling.minReplicas) (int64 $pool.autoscaling.maxReplicas)) }}
{{ $where }}.autoscaling: minReplicas {{ int64 $pool.autoscaling.minReplicas }} is more than maxReplicas {{ int64 $pool.autoscaling.maxReplicas }}
{{- end }}
{{- if gt (len (include "gateway.poolName" (list $ $name))) 52 }}
{{ $where }}: {{ include "gateway.poolName" (list $ $name) }} is longer than the 52 characters that the name of a StatefulSet may have
{{- end }}
{{- end }}
{{- $allowed := int64 $values.databaseConnectionsAllowed }}
{{- $most := include "gateway.connections" . | int64 }}
{{- if and $allowed (gt $most $allowed) }}
databaseConnectionsAllowed is {{ $allowed }}, and the pods may open {{ $most }} (docs/connections.md): lower GATEWAY_DATABASE_CONNECTIONS_MAX or the replicas, or allow more
{{- end }}
{{- end -}}

{{/*
Connections to the database at most, while everything is replaced: each process has the pool's, each of
the data plane two of its own, each of the control plane one for the audit; a command takes three.
*/}}
{{- define "gateway.connections" -}}
{{- $pool := include "gateway.seconds" (list . "GATEWAY_DATABASE_CONNECTIONS_MAX" 16) | int64 -}}
{{- $data := .Values.dataPlane -}}
{{- $control := .Values.controlPlane -}}
{{- $dataPods := ternary $data.autoscaling.maxReplicas $data.replicas $data.autoscaling.enabled | int64 -}}
{{- if not $data.journal.persistent }}{{ $dataPods = add $dataPods 1 }}{{ end -}}
{{- $isSingle := eq .Values.mode "single" -}}
{{- $sum := mul $dataPods (int64 $data.processes) (add $pool (ternary 3 2 $isSingle)) -}}
{{- if not $isSingle -}}
{{- $controlPods := ternary $control.autoscaling.maxReplicas $control.replicas $control.autoscaling.enabled | int64 -}}
{{- $sum = add $sum (mul (add $controlPods 1) (add $pool 1)) -}}
{{- end -}}
{{- add $sum 3 -}}
{{- end -}}

{{/* An upgrade that Kubernetes would refuse half-way, after the migration, is refused before it. */}}
{{- define "gateway.upgradeMistakes" -}}
{{- $name := printf "%s-data" (include "gateway.fullname" .) -}}
{{- $stateful := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $deployment := lookup "apps/v1" "Deployment" .Release.Namespace $name -}}
{{- $running := default $deployment $stateful -}}
{{- $isPersistent := .Values.dataPlane.journal.persistent -}}
{{- if $running }}
{{- $version := dig "metadata" "labels" "app.kubernetes.io/version" "" $running }}
{{- if and $version (not .Values.upgrade.allowDowngrade) (semverCompare (printf "<%s" $version) .Chart.AppVersion) }}
{{ $version }} runs, and this chart brings {{ .Chart.AppVersion }}: use `helm rollback`, or read docs/upgrading.md and set upgrade.allowDowngrade
{{- end }}
{{- end }}
{{- if and $stateful (not $isPersistent) }}
dataPlane.journal.persistent was true: its claims may hold usage that was answered and not charged yet. Make sure that `gateway_journal_bytes` is 0 everywhere, delete the StatefulSet {{ $name }}, and upgrade again
{{- end }}
{{- if and $deployment $isPersistent }}
dataPlane.journal.persistent was false: delete the Deployment {{ $name }} first, for both would run
{{- end }}
{{- if and $stateful $isPersistent }}
{{- $claim := (index $stateful.spec.volumeClaimTemplates 0).spec }}
{{- $wanted := printf "%dGi" (int64 .Values.dataPlane.journal.gibibytes) }}
{{- if ne $claim.resources.requests.storage $wanted }}
dataPlane.journal.gibibytes can't change on a StatefulSet ({{ $claim.resources.requests.storage }}, now {{ $wanted }}): grow the claims, run `kubectl delete statefulset {{ $name }} --cascade=orphan`, and upgrade again
{{- end }}
{{- end }}
{{- end -}}
