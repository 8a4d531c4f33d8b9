//! TLS to PostgreSQL.

use std::path::Path;

use holdfast_tests::{Certificates, Image, Output, Registry, Workbench, eventually};

use super::Cluster;

/// What the node is told in its environment, over what its configuration says.
type Settings<'a> = [(&'a str, &'a str)];

#[track_caller]
fn refused(node: &Registry, settings: &Settings<'_>) -> Output {
    let serve = Registry::command().arg("serve").arg(node.config_file());
    let set = settings.iter().fold(serve, |serve, (name, value)| {
        serve.env(&format!("REGISTRY_METADATA_POSTGRES_{name}"), value)
    });
    set.refused()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Connections of nodes to the database, with encryption and without.
fn connections(cluster: &Cluster) -> String {
    cluster.database.query(
        "SELECT count(*) FILTER (WHERE ssl) > 0, count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl \
         JOIN pg_stat_activity USING (pid) WHERE application_name = 'holdfast'",
    )
}

#[test]
fn the_database_proves_its_name_where_that_is_asked() {
    let mut cluster = Cluster::start(1, "");
    let home = Workbench::new();
    let certificates = |name: &str| {
        let directory = home.path(name);
        std::fs::create_dir(&directory).expect("making a directory");
        Certificates::generate(&directory)
    };
    let (ours, others) = (certificates("ours"), certificates("others"));
    let (ours_file, others_file) = (text(&ours.authority), text(&others.authority));
    let image = Image::new(9100, &[10_000]);
    cluster.nodes[0].http().push_image("app", "v1", &image);
    cluster.nodes[0].terminate();
    let node = &cluster.nodes[0];

    for settings in [
        &[("SSLMODE", "require")][..],
        &[("SSLMODE", "verify-full"), ("ROOTCERT", ours_file)],
    ] {
        refused(node, settings).mentions("server does not support TLS");
    }
    cluster.postgres.encrypt(&ours);
    let standby = cluster.postgres.standby();
    let elsewhere = standby.named(cluster.database.name()).url();
    refused(node, &[("ROOTCERT", others_file)]).mentions("invalid peer certificate");
    refused(node, &[("SSLMODE", "verify-full")]).mentions("UnknownIssuer");
    // The same certificate, at an address that is not in it.
    let settings = [("ROOTCERT", ours_file), ("URL", &elsewhere)];
    refused(node, &settings).mentions("not valid for name");

    let url = cluster.database.url();
    let in_url = format!("{url}?sslmode=verify-full&sslrootcert={ours_file}");
    let verified = format!("    sslmode: verify-full\n    rootcert: {ours_file}");
    let with_replica = format!("    rootcert: {ours_file}\n    replicas: ['{elsewhere}']");
    for (url, section) in [
        (&url, verified.as_str()),
        (&in_url, ""),
        (&url, "    sslmode: require"),
        (&url, &with_replica),
    ] {
        let node = cluster.node(url, section);
        let by_digest = format!("/v2/app/manifests/{}", image.manifest.digest);
        let answer = node.http().get(&by_digest).send().expect(200);
        assert_eq!(answer.body, image.manifest.bytes);
        assert_eq!(connections(&cluster), "t|0", "{section}");
        if section == with_replica {
            let log = node.log();
            let why = "a PostgreSQL replica cannot be asked";
            assert!(
                log.contains(why) && log.contains("not valid for name"),
                "{log}"
            );
        }
        drop(node);
        eventually("the node's connections end", || {
            connections(&cluster) == "f|0"
        });
    }
}
