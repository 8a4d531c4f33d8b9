//! The Helm chart: what helm says about it, and the objects that it renders.

use holdfast_tests::{Command, Output, Registry, Workbench};
use serde_json::{Value, json};

use super::deploy;

/// The documents of a YAML text. Debian's docker-compose comes with the reader.
pub(super) fn documents(yaml: &[u8]) -> Vec<Value> {
    let script = "import json, sys, yaml\nprint(json.dumps([d for d in yaml.safe_load_all(sys.stdin) if d]))";
    let read = Command::new("python3").args(["-c", script]).input(yaml);
    serde_json::from_slice(&read.run().stdout).expect("JSON")
}

fn helm(verb: &str, values: &[&str]) -> Command {
    let command = Command::new("helm").directory(&deploy("helm")).arg(verb);
    let named = match verb {
        "template" => command.args(["registry", "holdfast"]),
        _ => command.args(["holdfast", "--strict"]),
    };
    // There is no cluster to ask, and a helm built from its module takes an old one for granted.
    let named = named.arg("--kube-version=1.30.0");
    values
        .iter()
        .fold(named, |command, value| command.args(["--set-json", value]))
}

/// Everything that a release with these values consists of.
struct Release(Vec<Value>);

impl Release {
    fn with(values: &[&str]) -> Self {
        helm("lint", values).run();
        Self(documents(&helm("template", values).run().stdout))
    }

    fn find(&self, kind: &str) -> Option<&Value> {
        let mut found = self.0.iter().filter(|object| {
            object["kind"] == kind && object["metadata"]["annotations"]["helm.sh/hook"].is_null()
        });
        let first = found.next();
        assert!(found.next().is_none(), "several of kind {kind}");
        first
    }

    /// The service of this name, if it is there.
    fn service(&self, name: &str) -> Option<&Value> {
        let named =
            |object: &&Value| object["kind"] == "Service" && object["metadata"]["name"] == name;
        self.0.iter().find(named)
    }

    #[track_caller]
    fn object(&self, kind: &str) -> &Value {
        self.find(kind)
            .unwrap_or_else(|| panic!("no {kind} among {:?}", self.0))
    }

    fn pod(&self) -> &Value {
        &self.object("Deployment")["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    /// The configuration that the pods get, as text.
    fn configuration(&self) -> &str {
        self.object("ConfigMap")["data"]["config.yml"]
            .as_str()
            .expect("a configuration")
    }

    /// What `holdfast config check` says of it.
    fn check(&self) -> Output {
        let home = Workbench::new();
        let file = home.file("config.yml", self.configuration());
        let environment = self.find("Secret").map(|secret| &secret["stringData"]);
        let mut command = Registry::command();
        for (name, value) in environment.and_then(Value::as_object).into_iter().flatten() {
            command = command.env(name, value.as_str().expect("a text"));
        }
        command.args(["config", "check"]).arg(file).finish()
    }
}

#[test]
fn one_replica_keeps_everything_on_its_volume() {
    let release = Release::with(&[]);
    let deployment = release.object("Deployment");
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    assert!(release.find("PodDisruptionBudget").is_none());
    assert!(release.find("Ingress").is_none());
    assert!(release.find("Secret").is_none());

    let claim = release.object("PersistentVolumeClaim");
    assert_eq!(
        claim["metadata"]["annotations"]["helm.sh/resource-policy"],
        "keep"
    );
    let volumes = &release.pod()["volumes"];
    assert_eq!(
        volumes[1]["persistentVolumeClaim"]["claimName"],
        claim["metadata"]["name"]
    );
    let mounts = &release.container()["volumeMounts"];
    assert_eq!(mounts[0]["mountPath"], "/etc/docker/registry");
    assert_eq!(mounts[1]["mountPath"], "/var/lib/registry");
    let [configuration]: [Value; 1] = documents(release.configuration().as_bytes())
        .try_into()
        .expect("one document");
    assert_eq!(
        configuration["storage"]["filesystem"]["rootdirectory"],
        "/var/lib/registry"
    );
    let checked = release.check();
    assert!(checked.status.success(), "{checked}");
}

#[test]
fn pods_are_probed_confined_and_drained() {
    let release = Release::with(&[]);
    let (pod, container) = (release.pod(), release.container());
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        let expected = json!({ "path": path, "port": "registry", "scheme": "HTTP" });
        assert_eq!(container[probe]["httpGet"], expected);
    }
    assert_eq!(container["ports"][0]["containerPort"], 5000);
    // What the "restricted" standard for pods asks for.
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let confined = &container["securityContext"];
    assert_eq!(confined["allowPrivilegeEscalation"], false);
    assert_eq!(confined["readOnlyRootFilesystem"], true);
    assert_eq!(confined["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(pod["automountServiceAccountToken"], false);
    // A service called "registry" would set REGISTRY_PORT and more.
    assert_eq!(pod["enableServiceLinks"], false);

    let seconds = |value: &Value| value.as_u64().expect("seconds");
    let pause = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let [configuration]: [Value; 1] = documents(release.configuration().as_bytes())
        .try_into()
        .expect("one document");
    assert_eq!(configuration["http"]["draintimeout"], "60s");
    assert!(seconds(&pod["terminationGracePeriodSeconds"]) > pause + 60);
    assert!(container["resources"]["requests"]["memory"].is_string());
}

#[test]
fn logins_certificates_and_an_ingress() {
    let release = Release::with(&[
        r#"htpasswd={"lines": "ann:$2y$05$abc\n"}"#,
        r#"tls={"secretName": "certificate"}"#,
        r#"ingress={"enabled": true, "className": "nginx", "hosts": ["registry.example.com"]}"#,
        r#"metrics={"enabled": true, "serviceMonitor": {"enabled": true}}"#,
        r#"secretEnvironment={"REGISTRY_HTTP_SECRET": "s"}"#,
        r#"existingSecret="mine""#,
    ]);
    let container = release.container();
    assert_eq!(
        container["readinessProbe"]["httpGet"]["scheme"],
        json!("HTTPS")
    );
    let names: Vec<_> = container["envFrom"]
        .as_array()
        .expect("sources")
        .iter()
        .map(|source| source["secretRef"]["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["registry-holdfast", "mine"]);
    let [configuration]: [Value; 1] = documents(release.configuration().as_bytes())
        .try_into()
        .expect("one document");
    let mounted = |path: &Value| {
        let path = path.as_str().expect("a path");
        container["volumeMounts"]
            .as_array()
            .expect("mounts")
            .iter()
            .any(|mount| {
                mount["mountPath"]
                    .as_str()
                    .is_some_and(|place| path.starts_with(place))
            })
    };
    assert!(mounted(&configuration["auth"]["htpasswd"]["path"]));
    assert!(mounted(&configuration["http"]["tls"]["certificate"]));
    assert!(mounted(&configuration["http"]["tls"]["key"]));
    assert_eq!(
        configuration["http"]["debug"],
        json!({ "addr": ":5001", "prometheus": { "enabled": true } })
    );
    let ingress = release.object("Ingress");
    assert_eq!(ingress["spec"]["rules"][0]["host"], "registry.example.com");
    let annotations = &ingress["metadata"]["annotations"];
    let limit = "nginx.ingress.kubernetes.io/proxy-body-size";
    assert_eq!(annotations[limit], "0");
}

/// The debug server asks for no login, so it is in no service that may be public.
#[test]
fn metrics_have_a_service_of_their_own() {
    let public =
        r#"service={"type": "LoadBalancer", "port": 443, "annotations": {"who": "everybody"}}"#;
    let release = Release::with(&[public]);
    assert!(release.service("registry-holdfast-metrics").is_none());

    let metrics = r#"metrics={"enabled": true, "port": 9090, "serviceMonitor": {"enabled": true}}"#;
    let release = Release::with(&[public, metrics]);
    let service = release.service("registry-holdfast").expect("a service");
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    let port = json!({ "name": "registry", "port": 443, "targetPort": "registry" });
    assert_eq!(service["spec"]["ports"], json!([port]));

    let inside = release.service("registry-holdfast-metrics");
    let inside = inside.expect("a service for metrics");
    assert_eq!(inside["spec"]["type"], "ClusterIP");
    assert!(inside["metadata"]["annotations"].is_null());
    let port = json!({ "name": "metrics", "port": 9090, "targetPort": "metrics" });
    assert_eq!(inside["spec"]["ports"], json!([port]));
    let pods = release.object("Deployment")["spec"]["selector"]["matchLabels"].clone();
    assert_eq!(inside["spec"]["selector"], pods);

    let monitor = &release.object("ServiceMonitor")["spec"];
    assert_eq!(monitor["endpoints"][0]["port"], "metrics");
    let wanted = monitor["selector"]["matchLabels"].as_object();
    let found = |labels: &Value| {
        let mut wanted = wanted.expect("labels").iter();
        wanted.all(|(name, value)| labels[name] == *value)
    };
    assert!(found(&inside["metadata"]["labels"]));
    assert!(!found(&service["metadata"]["labels"]));
}

const S3: &str = r#"config.storage.s3={"bucket": "images", "region": "eu-central-1"}"#;
const POSTGRES: &str =
    r#"config.metadata.postgres={"host": "postgres", "user": "holdfast", "database": "holdfast"}"#;

#[test]
fn several_replicas_keep_nothing_and_replace_each_other_one_by_one() {
    let release = Release::with(&[
        "replicas=3",
        S3,
        POSTGRES,
        r#"secretEnvironment={"REGISTRY_METADATA_POSTGRES_PASSWORD": "p", "REGISTRY_STORAGE_S3_ACCESSKEY": "a", "REGISTRY_STORAGE_S3_SECRETKEY": "s"}"#,
    ]);
    let deployment = &release.object("Deployment")["spec"];
    assert_eq!(deployment["replicas"], 3);
    assert_eq!(
        deployment["strategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } })
    );
    assert!(release.find("PersistentVolumeClaim").is_none());
    let mounts = release.container()["volumeMounts"].as_array();
    assert_eq!(mounts.map(Vec::len), Some(1), "the configuration alone");
    let budget = &release.object("PodDisruptionBudget")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert_eq!(budget["selector"], deployment["selector"]);
    let spread = release.pod()["topologySpreadConstraints"]
        .as_array()
        .expect("constraints");
    let keys: Vec<_> = spread.iter().map(|one| &one["topologyKey"]).collect();
    assert_eq!(
        keys,
        ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    );
    assert!(
        spread
            .iter()
            .all(|one| one["labelSelector"] == deployment["selector"])
    );
    let checked = release.check();
    assert!(checked.status.success(), "{checked}");
}

/// With one of the two the other is in files, on the volume.
#[test]
fn an_object_store_without_postgresql_keeps_its_metadata_on_the_volume() {
    let release = Release::with(&[S3]);
    let [configuration]: [Value; 1] = documents(release.configuration().as_bytes())
        .try_into()
        .expect("one document");
    assert_eq!(
        configuration["metadata"]["path"],
        "/var/lib/registry/metadata.db"
    );
    let _ = release.object("PersistentVolumeClaim");
    let checked = release.check();
    assert!(checked.status.success(), "{checked}");
}

#[test]
fn what_cannot_work_is_not_rendered() {
    let refused = |values: &[&str], why: &str| helm("template", values).refused().mentions(why);
    refused(&["replicas=2"], "object store");
    refused(&["replicas=2", S3], "postgresql");
    refused(
        &[S3, r#"config.storage.filesystem={"rootdirectory": "/x"}"#],
        "several drivers",
    );
    refused(&["replcias=2"], "replcias");
    refused(&[r#"config.version="0.2""#], "version");
    refused(&[r#"ingress={"enabled": true}"#], "at least one");
    refused(
        &[r#"metrics={"serviceMonitor": {"enabled": true}}"#],
        "metrics.enabled",
    );
}
