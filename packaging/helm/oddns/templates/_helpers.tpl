{{- define "oddns.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "oddns.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "oddns.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "oddns.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "oddns.selectorLabels" -}}
app.kubernetes.io/name: {{ include "oddns.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "oddns.labels" -}}
{{ include "oddns.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "oddns.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "oddns.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "oddns.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Every kubernetes_sd_configs of the configuration, as {"found": [...]} in JSON. */}}
{{- define "oddns.discoveries" -}}
{{- $found := list -}}
{{- $alertmanagers := (default dict .Values.config.alerting).alertmanagers -}}
{{- range $job := concat (default list .Values.config.scrape_configs) (default list $alertmanagers) -}}
{{- range $sd := (default list $job.kubernetes_sd_configs) -}}
{{- $found = append $found $sd -}}
{{- end -}}
{{- end -}}
{{- dict "found" $found | toJson -}}
{{- end -}}

{{/*
The kinds of objects that may be listed, by the namespace to list them in, in JSON; "*" is every namespace.
A discovery of another cluster, and one by a kubeconfig, needs nothing here.
*/}}
{{- define "oddns.kinds" -}}
{{- $kinds := dict -}}
{{- $own := .Release.Namespace -}}
{{- $of := dict
  "pod" (list "pods")
  "service" (list "services")
  "endpoints" (list "endpoints" "services" "pods")
  "endpointslice" (list "endpointslices" "services" "pods")
  "node" (list) -}}
{{- range $sd := (include "oddns.discoveries" . | fromJson).found -}}
{{- if not (or $sd.api_server $sd.kubeconfig_file) -}}
{{- $where := default dict $sd.namespaces -}}
{{- $names := default list $where.names -}}
{{- if $where.own_namespace -}}{{- $names = append $names $own -}}{{- end -}}
{{- if not $names -}}{{- $names = list "*" -}}{{- end -}}
{{- range $name := $names -}}
{{- $before := default list (get $kinds $name) -}}
{{- $_ := set $kinds $name (concat $before (default list (get $of $sd.role)) | uniq | sortAlpha) -}}
{{- end -}}
{{- if or (eq $sd.role "node") (default dict $sd.attach_metadata).node -}}
{{- $before := default list (get $kinds "*") -}}
{{- $_ := set $kinds "*" (append $before "nodes" | uniq | sortAlpha) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $kinds | toJson -}}
{{- end -}}

{{- define "oddns.rules" -}}
{{- $core := without . "endpointslices" -}}
rules:
{{- if $core }}
  - apiGroups: [""]
    resources: {{ $core | toJson }}
    verbs: [list, watch]
{{- end }}
{{- if has "endpointslices" . }}
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list, watch]
{{- end }}
{{- end -}}

{{/* Whether the service account has to speak to the Kubernetes API. */}}
{{- define "oddns.speaksToApi" -}}
{{- if include "oddns.kinds" . | fromJson -}}true{{- end -}}
{{- end -}}
