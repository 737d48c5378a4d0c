{{/* What all pods have in common. */}}

{{- define "gateway.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "gateway.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where pods go. (dict "selector" "labels as YAML" "values" .Values.dataPlane) */}}
{{- define "gateway.scheduling" -}}
{{- $selector := .selector -}}
{{- with .values.spreadAcross }}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
  {{- end }}
{{- end }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $.values $name }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/*
How long a pod may take to end: it serves on, drains, ends what is in progress, and then gives its
credit back. (list $ .Values.dataPlane)
*/}}
{{- define "gateway.grace" -}}
{{- $root := index . 0 -}}
{{- $plane := index . 1 -}}
{{- if kindIs "invalid" $plane.terminationGracePeriodSeconds -}}
{{- include "gateway.graceLeast" . -}}
{{- else -}}
{{- int64 $plane.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{- define "gateway.graceLeast" -}}
{{- $root := index . 0 -}}
{{- $drain := include "gateway.seconds" (list $root "GATEWAY_DRAIN_SECONDS" 5) | int64 -}}
{{- $longest := include "gateway.seconds" (list $root "GATEWAY_REQUEST_TIMEOUT_SECONDS" 30) | int64 -}}
{{- add (int64 (index . 1).preStopSeconds) $drain $longest 15 -}}
{{- end -}}

{{/* A pod of the gateway. (dict "root" $ "component" "data" "role" "data" "values" .Values.dataPlane) */}}
{{- define "gateway.pod" -}}
{{- $root := .root -}}
{{- $values := .values -}}
metadata:
  labels:
    {{- include "gateway.labels" . | nindent 4 }}
    {{- with $values.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "gateway.podSecurity" $root | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "gateway.grace" (list $root $values) }}
  containers:
    - name: gateway
      image: {{ include "gateway.image" (dict "root" $root "image" $root.Values.image.gateway) }}
      imagePullPolicy: {{ $root.Values.image.gateway.pullPolicy }}
      command: [gateway, run, --host, 0.0.0.0, --port, "8080"
        {{- with $values.processes }}{{ if gt (int64 .) 1 }}, --processes, {{ int64 . | quote }}{{ end }}{{ end }}]
      env:
        {{- include "gateway.env" . | nindent 8 }}
      ports:
        - {name: http, containerPort: 8080}
        - {name: admin, containerPort: 8081}
      # two minutes: a start waits for the database, and then the pod begins anew
      startupProbe:
        httpGet: {path: /health/live, port: http}
        periodSeconds: 2
        failureThreshold: 60
      # 503 at once when the pod is told to end, without credit, or on a schema it does not know
      readinessProbe:
        httpGet: {path: /health/ready, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      livenessProbe:
        httpGet: {path: /health/live, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      {{- if $values.preStopSeconds }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ int64 $values.preStopSeconds }}}
      {{- end }}
      {{- with $values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- include "gateway.containerSecurity" $root | nindent 6 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if eq .component "data" }}
        - {name: journal, mountPath: /var/lib/gateway}
        {{- end }}
        {{- with include "gateway.authorityMounts" $root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if and (eq .component "data") (not $values.journal.persistent) }}
    - name: journal
      emptyDir: {sizeLimit: {{ int64 $values.journal.gibibytes }}Gi}
    {{- end }}
    {{- with include "gateway.authorityVolumes" (list $root) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- with include "gateway.scheduling" (dict "selector" (include "gateway.selector" .) "values" $values) | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Certificates that the gateway reads; with a second item in the list, only that of the database. */}}
{{- define "gateway.authorityMounts" -}}
{{- if .Values.databaseCA.existingSecret }}
- {name: database-ca, mountPath: /etc/gateway/database, readOnly: true}
{{- end }}
{{- if .Values.workers.ca.existingSecret }}
- {name: worker-ca, mountPath: /etc/gateway/workers, readOnly: true}
{{- end }}
{{- end -}}

{{- define "gateway.authorityVolumes" -}}
{{- $root := first . -}}
{{- $found := dict "database-ca" $root.Values.databaseCA }}
{{- if eq (len .) 1 }}{{ $_ := set $found "worker-ca" $root.Values.workers.ca }}{{ end }}
{{- range $name, $of := $found }}
{{- if $of.existingSecret }}
- name: {{ $name }}
  secret:
    secretName: {{ $of.existingSecret }}
    items: [{key: {{ $of.key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end -}}
