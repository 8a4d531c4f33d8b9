{{- define "holdfast.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "holdfast.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "holdfast.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "holdfast.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* The port that http.addr names. */ -}}
{{- define "holdfast.port" -}}
{{ splitList ":" .Values.config.http.addr | last }}
{{- end }}

{{- define "holdfast.scheme" -}}
{{ if or .Values.tls.secretName ((.Values.config.http).tls) }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{- /* "yes" if logins are asked for by a password file of the chart's. */ -}}
{{- define "holdfast.passwords" -}}
{{ if or .Values.htpasswd.lines .Values.htpasswd.existingSecret }}yes{{ end }}
{{- end }}

{{- /* The storage driver that the configuration names, or "filesystem". */ -}}
{{- define "holdfast.driver" -}}
{{- $drivers := list }}
{{- range $name := list "filesystem" "inmemory" "s3" "s3aws" "gcs" "azure" "oss" "swift" }}
{{- if hasKey $.Values.config.storage $name }}{{ $drivers = append $drivers $name }}{{ end }}
{{- end }}
{{- if gt (len $drivers) 1 }}{{ fail (printf "config.storage has several drivers: %s" (join ", " $drivers)) }}{{ end }}
{{- first $drivers | default "filesystem" }}
{{- end }}

{{- /* "yes" if there is something that must be kept in files. */ -}}
{{- define "holdfast.volume" -}}
{{- $postgres := hasKey (.Values.config.metadata | default dict) "postgres" }}
{{- $driver := include "holdfast.driver" . }}
{{- if or (eq $driver "filesystem") (and (ne $driver "inmemory") (not $postgres)) }}yes{{ end }}
{{- end }}

{{- /* The whole configuration: that of the values, and what follows from other values. */ -}}
{{- define "holdfast.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $driver := include "holdfast.driver" . }}
{{- $postgres := hasKey (.Values.config.metadata | default dict) "postgres" }}
{{- if gt (int .Values.replicas) 1 }}
{{- if has $driver (list "filesystem" "inmemory") }}{{ fail "replicas: several need content in an object store, such as config.storage.s3" }}{{ end }}
{{- if not $postgres }}{{ fail "replicas: several need metadata in PostgreSQL, config.metadata.postgres" }}{{ end }}
{{- end }}
{{- if and (eq $driver "filesystem") (not .Values.config.storage.filesystem) }}
{{- $_ := set $config.storage "filesystem" (dict "rootdirectory" "/var/lib/registry") }}
{{- else if and (include "holdfast.volume" .) (ne $driver "filesystem") (not (dig "metadata" "path" "" $config)) }}
{{- $_ := set $config "metadata" (merge (dict "path" "/var/lib/registry/metadata.db") ($config.metadata | default dict)) }}
{{- end }}
{{- if include "holdfast.passwords" . }}
{{- $_ := set $config "auth" (dict "htpasswd" (dict "realm" .Values.htpasswd.realm "path" "/etc/holdfast/passwords/htpasswd")) }}
{{- end }}
{{- if .Values.tls.secretName }}
{{- $tls := dict "certificate" "/etc/holdfast/tls/tls.crt" "key" "/etc/holdfast/tls/tls.key" }}
{{- $_ := set $config.http "tls" (merge $tls ($config.http.tls | default dict)) }}
{{- end }}
{{- if .Values.metrics.enabled }}
{{- $_ := set $config.http "debug" (dict "addr" (printf ":%v" .Values.metrics.port) "prometheus" (dict "enabled" true)) }}
{{- end }}
{{- toYaml $config }}
{{- end }}
