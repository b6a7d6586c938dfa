{{- define "deid-gateway.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "deid-gateway.image" -}}
{{- if hasPrefix "sha256:" .Values.image.tag -}}
{{ .Values.image.repository }}@{{ .Values.image.tag }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}
{{- end }}

{{/* What tells one component's pods from all others: (dict "root" $ "component" "worker") */}}
{{- define "deid-gateway.selector" -}}
app.kubernetes.io/name: deid-gateway
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "deid-gateway.labels" -}}
{{ include "deid-gateway.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Nothing in a container needs more than this. */}}
{{- define "deid-gateway.locked" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "deid-gateway.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Sees staging area and sources: the batch interface and the workers. */}}
{{- define "deid-gateway.seesFiles" -}}
{{- if or (eq .component "worker") (eq .component "batches") }}yes{{ end -}}
{{- end }}

{{/* Holds objects for review, or reviews them: only where somebody does. */}}
{{- define "deid-gateway.seesHeld" -}}
{{- if and .root.Values.review.enabled (has .component (list "gateway" "worker" "review")) }}yes{{ end -}}
{{- end }}

{{/* Settings of one component as a YAML map: its own stand above those of all. */}}
{{- define "deid-gateway.settings" -}}
{{- merge (deepCopy (.values.env | default dict)) (.root.Values.env | default dict) | toYaml -}}
{{- end }}

{{/* Secrets with files of one component as JSON: those of all, then its own. */}}
{{- define "deid-gateway.files" -}}
{{- dict "files" (concat (.root.Values.files | default list) (.values.files | default list)) | toJson -}}
{{- end }}

{{- define "deid-gateway.hasTls" -}}
{{- with .values.tls }}{{ if .secret }}yes{{ end }}{{ end -}}
{{- end }}

{{/* The cluster has no certificate to show: where one is asked for, an open port has to do. */}}
{{- define "deid-gateway.probe" -}}
{{- if not (include "deid-gateway.hasTls" .of) -}}
httpGet: {path: {{ .path }}, port: http}
{{- else if .of.values.tls.clientCa -}}
tcpSocket: {port: http}
{{- else -}}
httpGet: {path: {{ .path }}, port: http, scheme: HTTPS}
{{- end -}}
{{- end }}

{{- define "deid-gateway.env" -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ .values.database.secret }}, key: {{ .values.database.key }}}
- {name: DEID_KEY_FILE, value: /keys/gateway/gateway-keys.json}
{{- if eq .component "reidentify" }}
- {name: DEID_REIDENTIFY_KEY_FILE, value: /keys/reidentify/reidentification-key.json}
{{- end }}
{{- if eq .component "review" }}
- {name: DEID_REVIEW_KEY_FILE, value: /keys/review/review-key.json}
{{- end }}
{{- if include "deid-gateway.seesHeld" . }}
{{- /* Below the volume, so that it is made for the gateway's user alone. */}}
- {name: DEID_QUARANTINE_DIR, value: /quarantine/held}
{{- end }}
{{- if include "deid-gateway.seesFiles" . }}
- {name: DEID_STAGING_DIR, value: /staging}
{{- if .root.Values.sources }}
{{- $roots := list }}
{{- range $source := .root.Values.sources }}
{{- if not $source.organizations }}{{ $roots = append $roots $source.mountPath }}{{ end }}
{{- range $source.organizations }}
{{- $roots = append $roots (printf "%s=%s" . $source.mountPath) }}
{{- end }}
{{- end }}
- {name: DEID_SOURCE_ROOTS, value: {{ join ":" $roots | quote }}}
{{- end }}
{{- if .root.Values.stores }}
- {name: DEID_STORES_FILE, value: /etc/deid-gateway/stores.yaml}
{{- end }}
{{- end }}
{{- if include "deid-gateway.hasTls" . }}
- {name: DEID_TLS_CERTIFICATE_FILE, value: /tls/tls.crt}
- {name: DEID_TLS_KEY_FILE, value: /tls/tls.key}
{{- with .values.tls.clientCa }}
- {name: DEID_TLS_CLIENT_CA_FILE, value: {{ printf "/tls/%s" . | quote }}}
{{- end }}
{{- end }}
{{- range $name, $value := include "deid-gateway.settings" . | fromYaml }}
- {name: {{ $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end }}

{{- define "deid-gateway.volumeMounts" -}}
- {name: keys, mountPath: /keys/gateway, readOnly: true}
{{- if eq .component "reidentify" }}
- {name: private-key, mountPath: /keys/reidentify, readOnly: true}
{{- end }}
{{- if eq .component "review" }}
- {name: review-key, mountPath: /keys/review, readOnly: true}
{{- end }}
{{- if include "deid-gateway.seesHeld" . }}
- {name: quarantine, mountPath: /quarantine}
{{- end }}
{{- if include "deid-gateway.hasTls" . }}
- {name: tls, mountPath: /tls, readOnly: true}
{{- end }}
{{- range (include "deid-gateway.files" . | fromJson).files }}
- {name: file-{{ .name }}, mountPath: {{ .mountPath }}, readOnly: true}
{{- end }}
{{- range .values.claims }}
- {name: claim-{{ .name }}, mountPath: {{ .mountPath }}}
{{- end }}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
{{- if include "deid-gateway.seesFiles" . }}
- {name: staging, mountPath: /staging}
{{- range .root.Values.sources }}
- {name: source-{{ .name }}, mountPath: {{ .mountPath }}, readOnly: true}
{{- end }}
{{- if .root.Values.stores }}
- {name: stores, mountPath: /etc/deid-gateway, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "deid-gateway.volumes" -}}
{{- /* Readable to the group, which the program takes of root alone; new content comes into use by itself. */}}
- name: keys
  secret:
    secretName: {{ .root.Values.keys.secret }}
    defaultMode: 0440
    items: [{key: gateway-keys.json, path: gateway-keys.json}]
{{- if eq .component "reidentify" }}
- name: private-key
  secret:
    secretName: {{ .root.Values.keys.reidentifySecret }}
    defaultMode: 0440
    items: [{key: reidentification-key.json, path: reidentification-key.json}]
{{- end }}
{{- if eq .component "review" }}
- name: review-key
  secret:
    secretName: {{ .root.Values.keys.reviewSecret }}
    defaultMode: 0440
    items: [{key: review-key.json, path: review-key.json}]
{{- end }}
{{- if include "deid-gateway.seesHeld" . }}
- name: quarantine
  persistentVolumeClaim:
    claimName: {{ .root.Values.quarantine.existingClaim | default (printf "%s-quarantine" (include "deid-gateway.name" .root)) }}
{{- end }}
{{- if include "deid-gateway.hasTls" . }}
- name: tls
  secret: {secretName: {{ .values.tls.secret }}, defaultMode: 0440}
{{- end }}
{{- range (include "deid-gateway.files" . | fromJson).files }}
- name: file-{{ .name }}
  secret: {secretName: {{ .secret }}, defaultMode: 0440}
{{- end }}
{{- range .values.claims }}
- name: claim-{{ .name }}
  persistentVolumeClaim: {claimName: {{ .claimName }}}
{{- end }}
- name: data
  emptyDir: {sizeLimit: {{ .values.spool }}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if include "deid-gateway.seesFiles" . }}
- name: staging
  {{- if eq .root.Values.staging.kind "shared" }}
  persistentVolumeClaim:
    claimName: {{ .root.Values.staging.existingClaim | default (printf "%s-staging" (include "deid-gateway.name" .root)) }}
  {{- else }}
  emptyDir: {sizeLimit: {{ .root.Values.staging.size }}}
  {{- end }}
{{- range .root.Values.sources }}
- name: source-{{ .name }}
  persistentVolumeClaim: {claimName: {{ .claimName }}, readOnly: true}
{{- end }}
{{- if .root.Values.stores }}
- name: stores
  configMap: {name: {{ include "deid-gateway.name" .root }}-stores}
{{- end }}
{{- end }}
{{- end }}

{{- define "deid-gateway.placement" -}}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "deid-gateway.selector" . | nindent 8 }}
{{- end }}

{{- define "deid-gateway.podMetadata" -}}
metadata:
  labels:
    {{- include "deid-gateway.labels" . | nindent 4 }}
    {{- with .values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/stores: {{ .root.Values.stores | toYaml | sha256sum }}
    {{- with .values.metrics }}
    {{- if and .enabled .annotations }}
    prometheus.io/scrape: "true"
    prometheus.io/port: {{ .port | quote }}
    prometheus.io/path: /metrics
    {{- end }}
    {{- end }}
    {{- with .values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Which further services a component calls, by its settings: keys of networkPolicy, as JSON. */}}
{{- define "deid-gateway.outside" -}}
{{- $called := list }}
{{- if ne .component "migrate" }}
{{- $settings := include "deid-gateway.settings" . | fromYaml }}
{{- if and $settings.DEID_OIDC_ISSUER (ne .component "worker") }}{{ $called = append $called "identityProvider" }}{{ end }}
{{- if has (get $settings "DEID_KEY_PROVIDER") (list "vault-transit" "aws-kms") }}{{ $called = append $called "keyProvider" }}{{ end }}
{{- if and $settings.DEID_BREAK_GLASS_URL (eq .component "reidentify") }}{{ $called = append $called "emergencies" }}{{ end }}
{{- if and $settings.DEID_AUDIT_SYSLOG (eq .component "audit") }}{{ $called = append $called "auditReceiver" }}{{ end }}
{{- if contains "://" (get $settings "DEID_AUDIT_CHECKPOINT_TO") }}{{ $called = append $called "checkpoints" }}{{ end }}
{{- end }}
{{- $called | toJson -}}
{{- end }}
