#!/usr/bin/env python3
"""k8s-validate.py FOLDER: renders the kustomization in a folder and checks it, without a cluster. Prints the documents as JSON.

1. The kustomization: its files are there and all named; namespace and images are set in the documents as kustomize does. It
   knows nothing else of kustomize and refuses what it does not know.
2. Each document against the published schema of the newest Kubernetes that the package kubernetes-validate has, unknown fields
   refused.
3. What a schema cannot say and an API server, a kubelet or a node would refuse: see `rules`.
Complaints go to standard error; then the exit status is 1. Needs: pip install kubernetes-validate."""
import json
import os
import sys

import kubernetes_validate
import yaml

PODS = ("DaemonSet", "Deployment", "StatefulSet")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def render(folder):
    """The documents, and what is wrong with the kustomization."""
    path = os.path.join(folder, "kustomization.yaml")
    kustomization = yaml.safe_load(open(path))
    unknown = set(kustomization) - {"apiVersion", "kind", "namespace", "resources", "images"}
    wrong = [f"kustomization: {field} is not known here" for field in sorted(unknown)]
    files = {name for name in os.listdir(folder) if name.endswith(".yaml")} - {"kustomization.yaml"}
    named = kustomization["resources"]
    wrong += [f"kustomization: {name} is not named" for name in sorted(files - set(named))]
    wrong += [f"kustomization: {name} is not there" for name in named if name not in files]
    docs = [doc for name in named if name in files for doc in yaml.safe_load_all(open(os.path.join(folder, name))) if doc]
    for doc in docs:
        if doc["kind"] != "Namespace":
            doc["metadata"]["namespace"] = kustomization["namespace"]
        for container in containers(doc):
            name = container["image"].rsplit(":", 1)[0]
            for image in kustomization.get("images", []):
                if image["name"] == name:
                    container["image"] = f"{image.get('newName', name)}:{image['newTag']}"
    return docs, wrong


def pod(doc):
    return doc["spec"]["template"]["spec"] if doc.get("kind") in PODS else {}


def containers(doc):
    return pod(doc).get("containers", []) + pod(doc).get("initContainers", [])


def rules(doc, docs):
    if doc["kind"] == "NetworkPolicy":
        selected = doc["spec"]["podSelector"].get("matchLabels", {})
        pods = [other for other in docs if other.get("kind") in PODS and selects(selected, other)]
        if not pods:
            yield "selects no pod of these files"
        ports = {port["name"] for other in pods for each in containers(other) for port in each.get("ports", [])}
        for rule in doc["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                if isinstance(port["port"], str) and port["port"] not in ports:
                    yield f"names the unknown port {port['port']}"
    if doc["kind"] not in PODS:
        return
    if not selects(doc["spec"]["selector"].get("matchLabels", {}), doc):
        yield "the selector does not select the template's labels"
    volumes = {volume["name"] for volume in pod(doc).get("volumes", [])}
    used = {mount["name"] for container in containers(doc) for mount in container.get("volumeMounts", [])}
    yield from (f"volume {name} is not mounted" for name in sorted(volumes - used))
    yield from (f"mount {name} has no volume" for name in sorted(used - volumes))
    account = pod(doc).get("serviceAccountName")
    if account and not any(other["kind"] == "ServiceAccount" and other["metadata"]["name"] == account for other in docs):
        yield f"service account {account} is not in these files"
    for container in containers(doc):
        yield from in_container(container, pod(doc))


def in_container(container, spec):
    ports = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
    for port in container.get("ports", []):
        if spec.get("hostNetwork") and port.get("hostPort", port["containerPort"]) != port["containerPort"]:
            yield f"with the host's network, port {port['containerPort']} cannot be {port['hostPort']} there"
    for probe in PROBES:
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if isinstance(port, str) and port not in ports:
            yield f"{probe} names the unknown port {port}"
    listen = [word.split("=", 1)[1] for word in container.get("args", []) if word.startswith("--listen=")]
    if ports and [int(address.rsplit(":", 1)[1]) for address in listen] != list(ports.values()):
        yield f"listens on {listen}, but its ports are {list(ports.values())}"
    security = container.get("securityContext", {})
    names = security.get("capabilities", {}).get("add", [])
    yield from (f"capability {name}: without CAP_ here" for name in names if name.startswith("CAP_"))
    if ":" not in container["image"]:
        yield f"image {container['image']} has no tag"


def selects(wanted, doc):
    labels = doc["spec"]["template"]["metadata"].get("labels", {})
    return wanted.items() <= labels.items()


def main(folder):
    docs, wrong = render(folder)
    for doc in docs:
        found = []
        try:
            kubernetes_validate.validate(doc, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(error.message.splitlines()[0])
        found = found or list(rules(doc, docs))
        wrong += [f"{doc['kind']}/{doc['metadata']['name']}: {sentence}" for sentence in found]
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    json.dump(docs, sys.stdout)
    return 1 if wrong or not docs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
