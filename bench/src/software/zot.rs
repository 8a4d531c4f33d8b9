//! zot's configuration: its smallest set of features, and the same durability that the others give.

use std::ffi::OsString;

use serde_json::json;

use super::{Setting, Variant};
use crate::Result;

/// `serve <file>`. `commit` syncs uploads, which is off by default; collection and deduplication would work
/// in the background of a measurement.
pub(super) fn arguments(setting: &Setting<'_>) -> Result<Vec<OsString>> {
    let data = setting.home.join("data");
    std::fs::create_dir_all(&data)?;
    let mut http = json!({
        "address": setting.address.ip().to_string(),
        "port": setting.address.port().to_string(),
    });
    match setting.variant {
        Variant::Plain | Variant::Bucket => {}
        Variant::Tls => {
            http["tls"] = json!({
                "cert": setting.certificate.file,
                "key": setting.certificate.key_file,
            });
        }
        Variant::Htpasswd => {
            let path = setting.home.join("htpasswd");
            std::fs::write(&path, setting.htpasswd)?;
            http["auth"] = json!({ "htpasswd": { "path": path } });
        }
    }
    let config = json!({
        "distSpecVersion": "1.1.0",
        "storage": { "rootDirectory": data, "commit": true, "gc": false, "dedupe": false },
        "http": http,
        "log": { "level": "error" },
    });
    let path = setting.home.join("config.json");
    std::fs::write(&path, config.to_string())?;
    Ok(vec!["serve".into(), path.into()])
}
