//! The files that deploy walferry: valid against the Kubernetes API, and consistent with each
//! other and with the image.
//!
//! `k8s-openapi` is generated from Kubernetes' own OpenAPI document. Reading a manifest into its
//! types refuses wrong types; writing it out again and comparing finds unknown fields (which are
//! dropped on the way) and missing required ones (which appear).

use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const GRACE: &str = "/spec/template/spec/terminationGracePeriodSeconds";
const CONTAINER: &str = "/spec/template/spec/containers/0";

#[test]
fn every_manifest_is_valid() {
    let mut kinds: Vec<String> = manifests()
        .iter()
        .map(|(path, document)| {
            validate(document).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            String::from(text(document, "/kind"))
        })
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["ConfigMap", "Deployment", "NetworkPolicy", "Service", "ServiceAccount"]);
}

/// The validation above sees: each of these mistakes is refused.
#[test]
fn mistakes_are_found() {
    type Mistake = (&'static str, fn(&mut Value));
    let mistakes: &[Mistake] = &[
        ("unknown field", |d| d["spec"]["replica"] = 1.into()),
        ("misspelt field deep inside", |d| {
            let container = d.pointer_mut(CONTAINER).unwrap().as_object_mut().unwrap();
            let probe = container.remove("readinessProbe").unwrap();
            container.insert("readynessProbe".into(), probe);
        }),
        ("wrong type", |d| d["spec"]["replicas"] = "one".into()),
        ("string for a number", |d| *d.pointer_mut(GRACE).unwrap() = "40".into()),
        ("missing selector", |d| {
            d["spec"].as_object_mut().unwrap().remove("selector");
        }),
        ("missing name of a container", |d| {
            d.pointer_mut(CONTAINER).unwrap().as_object_mut().unwrap().remove("name");
        }),
        ("field at the wrong level", |d| {
            d["spec"]["securityContext"] = serde_json::json!({ "runAsNonRoot": true });
        }),
        ("wrong API version", |d| d["apiVersion"] = "apps/v1beta1".into()),
        ("unknown kind", |d| d["kind"] = "Deploymint".into()),
    ];
    let good = manifest("Deployment");
    validate(&good).unwrap();
    for (what, spoil) in mistakes {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(validate(&bad).is_err(), "{what} was accepted");
    }
}

#[test]
fn one_process_at_a_time_with_time_to_stop() {
    let deployment = manifest("Deployment");
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(text(&deployment, "/spec/strategy/type"), "Recreate");

    let settings = settings_of_the_config_map();
    let timeout = settings["shutdown_timeout"].as_str().unwrap();
    let seconds: u64 = timeout.strip_suffix('s').unwrap().parse().unwrap();
    let grace = deployment.pointer(GRACE).and_then(Value::as_u64).unwrap();
    assert!(grace > seconds, "{grace} s to stop, of which walferry may use {seconds} s");
}

#[test]
fn the_pod_has_no_privileges() {
    let deployment = manifest("Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = deployment.pointer(CONTAINER).unwrap();
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert!(container["securityContext"]["capabilities"].get("add").is_none());
    assert!(container["resources"]["limits"]["memory"].is_string());
    let user = pod["securityContext"]["runAsUser"].as_u64().unwrap();
    let dockerfile = read("docker/Dockerfile");
    assert!(dockerfile.contains(&format!("USER {user}:{user}")), "the image has another user");
    assert_eq!(manifest("ServiceAccount")["automountServiceAccountToken"], false);
}

#[test]
fn probes_and_ports_meet_the_server() {
    let deployment = manifest("Deployment");
    let container = deployment.pointer(CONTAINER).unwrap();
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"]["path"], path, "{probe}");
        assert_eq!(container[probe]["httpGet"]["port"], "http", "{probe}");
    }
    let settings = settings_of_the_config_map();
    let listen = settings["http"]["listen"].as_str().unwrap();
    let port = container["ports"][0]["containerPort"].as_u64().unwrap();
    assert!(listen.ends_with(&format!(":{port}")), "{listen} and {port}");
    assert_eq!(container["ports"][0]["name"], "http");
    assert_eq!(manifest("Service")["spec"]["ports"][0]["targetPort"], "http");
    let policy = manifest("NetworkPolicy");
    assert_eq!(policy.pointer("/spec/ingress/0/ports/0/port").and_then(Value::as_u64), Some(port));
}

#[test]
fn names_and_labels_fit_together() {
    let deployment = manifest("Deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&manifest("Service")["spec"]["selector"], labels);
    assert_eq!(&manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels);

    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], manifest("ServiceAccount")["metadata"]["name"]);
    assert_eq!(pod["volumes"][0]["configMap"]["name"], manifest("ConfigMap")["metadata"]["name"]);
    // What the configuration reads from files is mounted there.
    let toml = config_map_toml();
    let mount = text(&deployment, "/spec/template/spec/containers/0/volumeMounts/1/mountPath");
    let items = pod["volumes"][1]["secret"]["items"].as_array().unwrap();
    assert!(!items.is_empty());
    for item in items {
        let file = format!("{mount}/{}", item["path"].as_str().unwrap());
        assert!(toml.contains(&file), "nothing reads {file}");
    }
    let image = text(&deployment, "/spec/template/spec/containers/0/image");
    assert_eq!(image, format!("walferry:{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn compose_pins_and_watches_every_service() {
    let compose: Value = yaml(&read("docker/compose.yaml"));
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.len(), 4);
    for (name, service) in services {
        let tag = service["image"].as_str().unwrap().rsplit_once(':').unwrap().1;
        assert!(tag != "latest" && !tag.is_empty(), "{name}: {tag}");
        assert!(service["healthcheck"]["test"].is_array(), "{name} has no health check");
        let needs = service.get("depends_on").and_then(Value::as_object);
        for (needed, how) in needs.into_iter().flatten() {
            assert!(services.contains_key(needed), "{name} needs {needed}");
            assert_eq!(how["condition"], "service_healthy", "{name} needs {needed}");
        }
    }
    let command = services["postgres"]["command"].to_string();
    assert!(command.contains("wal_level=logical"), "{command}");
    let settings: toml::Table = read("docker/walferry.toml").parse().unwrap();
    let kafka = settings["kafka"]["bootstrap_servers"].as_str().unwrap();
    let listeners = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].as_str();
    assert!(listeners.unwrap().contains(&format!("://{kafka},")), "{listeners:?}");
}

#[test]
fn images_are_pinned_and_run_without_root() {
    let dockerfile = read("docker/Dockerfile");
    let bases: Vec<&str> =
        dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(bases.len(), 2);
    for base in bases {
        let tag = base.split(' ').next().unwrap().rsplit_once(':').unwrap().1;
        assert!(tag.split(['.', '-']).nth(1).is_some_and(|n| n.parse::<u32>().is_ok()), "{base}");
    }
    let user = dockerfile.lines().rfind(|line| line.starts_with("USER ")).unwrap();
    assert!(!user.contains("root") && !user.contains(" 0"), "{user}");
    assert!(dockerfile.contains("--locked"));
}

/// What is deployed is accepted as it stands, with the secrets that the files around it provide.
#[test]
fn deployed_configurations_are_accepted() {
    for (name, toml) in
        [("docker/walferry.toml", read("docker/walferry.toml")), ("ConfigMap", config_map_toml())]
    {
        let secret = |_: &Path| Ok(String::from("secret"));
        let loaded = walferry::config::parse(&toml, name, &|_| Some("secret".into()), &secret);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
        let misspelt = toml.replace("[[outbox]]", "[[outboxes]]");
        walferry::config::parse(&misspelt, name, &|_| None, &secret).expect_err("a mistake");
    }
}

/// Refuses what the API server would refuse, and what it would silently drop.
fn validate(document: &Value) -> Result<(), String> {
    match (text(document, "/apiVersion"), text(document, "/kind")) {
        ("v1", "ConfigMap") => round_trip::<ConfigMap>(document),
        ("v1", "Service") => round_trip::<Service>(document),
        ("v1", "ServiceAccount") => round_trip::<ServiceAccount>(document),
        ("apps/v1", "Deployment") => round_trip::<Deployment>(document),
        ("networking.k8s.io/v1", "NetworkPolicy") => round_trip::<NetworkPolicy>(document),
        (version, kind) => Err(format!("no schema for {version} {kind}")),
    }
}

fn round_trip<T: DeserializeOwned + Serialize>(document: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(document.clone()).map_err(|e| e.to_string())?;
    let again = serde_json::to_value(&typed).map_err(|e| e.to_string())?;
    difference("", document, &again).map_or(Ok(()), Err)
}

/// The first place where the two differ.
fn difference(path: &str, given: &Value, known: &Value) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            if let Some(key) = given.keys().find(|key| !known.contains_key(*key)) {
                return Some(format!("{path}/{key} is unknown"));
            }
            if let Some(key) = known.keys().find(|key| !given.contains_key(*key)) {
                return Some(format!("{path}/{key} is missing"));
            }
            given.iter().find_map(|(key, value)| {
                difference(&format!("{path}/{key}"), value, &known[key.as_str()])
            })
        }
        (Value::Array(given), Value::Array(known)) if given.len() == known.len() => given
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(i, (given, known))| difference(&format!("{path}/{i}"), given, known)),
        _ => (given != known).then(|| format!("{path} is {given}, not {known}")),
    }
}

fn manifests() -> Vec<(PathBuf, Value)> {
    let directory = root().join("deploy/kubernetes");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, yaml(&text))
        })
        .collect()
}

fn manifest(kind: &str) -> Value {
    let mut documents = manifests().into_iter().map(|(_, document)| document);
    documents.find(|document| document["kind"] == kind).unwrap()
}

fn config_map_toml() -> String {
    String::from(manifest("ConfigMap")["data"]["walferry.toml"].as_str().unwrap())
}

fn settings_of_the_config_map() -> toml::Table {
    config_map_toml().parse().unwrap_or_else(|error| panic!("walferry.toml: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
