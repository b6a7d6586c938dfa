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

{{/*
A file of a Secret is readable to its group as soon as the pod has one, and the program refuses
key files that others can read: they are copied into memory, for the user of the program alone.
*/}}
{{- define "deid-gateway.keysContainer" -}}
- name: keys
  image: {{ include "deid-gateway.image" .root | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [sh, -c, "install -m 0600 /secrets/*/*.json /keys/"]
  {{- include "deid-gateway.locked" . | nindent 2 }}
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {memory: 32Mi}
  volumeMounts:
    - {name: keys, mountPath: /keys}
    - {name: gateway-secret, mountPath: /secrets/gateway, readOnly: true}
    {{- if eq .component "reidentify" }}
    - {name: reidentify-secret, mountPath: /secrets/reidentify, readOnly: true}
    {{- end }}
{{- end }}

{{- define "deid-gateway.env" -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ .values.database.secret }}, key: {{ .values.database.key }}}
- {name: DEID_KEY_FILE, value: /keys/gateway-keys.json}
{{- if eq .component "reidentify" }}
- {name: DEID_REIDENTIFY_KEY_FILE, value: /keys/reidentification-key.json}
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
{{- range $name, $value := .values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "deid-gateway.volumeMounts" -}}
- {name: keys, mountPath: /keys, readOnly: true}
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
- name: keys
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: gateway-secret
  secret:
    secretName: {{ .root.Values.keys.secret }}
    items: [{key: gateway-keys.json, path: gateway-keys.json}]
{{- if eq .component "reidentify" }}
- name: reidentify-secret
  secret:
    secretName: {{ .root.Values.keys.reidentifySecret }}
    items: [{key: reidentification-key.json, path: reidentification-key.json}]
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
