// Reads manifests of Kubernetes from standard input, one document after the other, and takes each as the
// API server would: by the Go type of its kind, without a field that the type does not have. Prints
// each as a line of JSON, and ends with 1 when one is wrong.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	kinds := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(kinds))
	utilruntime.Must(monitoring.AddToScheme(kinds))
	decoder := serializer.NewCodecFactory(kinds, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	wrong := false
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = check(decoder, text)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%v in:\n%s\n", err, text)
			wrong = true
		}
	}
	if wrong {
		os.Exit(1)
	}
}

func check(decoder runtime.Decoder, text []byte) error {
	object, kind, err := decoder.Decode(text, nil, nil)
	if runtime.IsMissingKind(err) && isEmpty(text) {
		return nil
	}
	if err != nil {
		return err
	}
	named, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	if wrong := validation.IsDNS1123Subdomain(named.GetName()); len(wrong) > 0 {
		return fmt.Errorf("the name %q is none: %v", named.GetName(), wrong)
	}
	for name, value := range named.GetLabels() {
		if wrong := append(validation.IsQualifiedName(name), validation.IsValidLabelValue(value)...); len(wrong) > 0 {
			return fmt.Errorf("the label %q: %q is none: %v", name, value, wrong)
		}
	}
	object.GetObjectKind().SetGroupVersionKind(*kind)
	return json.NewEncoder(os.Stdout).Encode(object)
}

// Comments alone are what a template leaves that made nothing.
func isEmpty(text []byte) bool {
	var value any
	return yaml.Unmarshal(text, &value) == nil && value == nil
}
