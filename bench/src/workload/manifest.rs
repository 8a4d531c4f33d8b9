//! A manifest by its tag on several connections: what every `docker pull` begins with.

use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};

use super::{Fixture, SMALL_BYTES, Scale, Workload, blob};
use crate::Result;
use crate::connection::{Connection, Request};
use crate::content::{Content, digest};
use crate::measure::{Unit, Work};
use crate::parallel;

const REPOSITORY: &str = "bench/manifest";
const TARGET: &str = "/v2/bench/manifest/manifests/latest";
const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const CONFIG: &str =
    r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
/// Layers of the image, as many as a common one has.
const LAYERS: usize = 8;

/// `GET` by tag.
pub(super) struct PullByTag;

impl Workload for PullByTag {
    fn name(&self) -> &'static str {
        "manifest by tag, 8 clients"
    }

    fn unit(&self) -> Unit {
        Unit::Requests
    }

    fn fixture(&self, address: SocketAddr, content: &Content, _: &Scale) -> Result<Fixture> {
        let mut connection = Connection::open(address)?;
        let config = digest(Sha256::new_with_prefix(CONFIG));
        blob::push_parts(&mut connection, REPOSITORY, &[CONFIG.as_bytes()], &config)?;
        let mut layers = Vec::new();
        for _ in 0..LAYERS {
            let layer = content.blob(SMALL_BYTES);
            blob::push(&mut connection, REPOSITORY, content, &layer)?;
            layers.push(serde_json::json!({
                "mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.bytes,
            }));
        }
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE,
            "config": { "mediaType": CONFIG_TYPE, "digest": config, "size": CONFIG.len() },
            "layers": layers,
        })
        .to_string();
        let content_type = format!("Content-Type: {MEDIA_TYPE}\r\n");
        let put = Request {
            method: "PUT",
            target: TARGET,
            headers: &content_type,
            status: 201,
        };
        connection.send(put, &[manifest.as_bytes()], &mut |_| {})?;
        let mut found = Vec::new();
        get(&mut connection, &mut |piece| found.extend_from_slice(piece))?;
        if found != manifest.as_bytes() {
            return Err("the manifest came back otherwise than it was pushed".into());
        }
        Ok(Fixture::default())
    }

    fn round<'a>(
        &self,
        address: SocketAddr,
        _: &'a Content,
        scale: &'a Scale,
        _: &'a Fixture,
    ) -> Result<Work<'a>> {
        let connections = parallel::connect(address)?;
        Ok(Box::new(move || {
            parallel::run(
                connections,
                scale.requests,
                scale.small_time,
                |connection, _| get(connection, &mut |_| {}),
            )
        }))
    }
}

fn get(connection: &mut Connection, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
    let accept = format!("Accept: {MEDIA_TYPE}\r\n");
    let get = Request {
        method: "GET",
        target: TARGET,
        headers: &accept,
        status: 200,
    };
    connection.send(get, &[], sink)?;
    Ok(())
}
