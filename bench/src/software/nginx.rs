//! nginx, serving the same bytes as files: what a pull costs where nothing is asked about it.
//!
//! Once with its defaults and sendfile, as distributions ship it; once tuned for fast links near by. A small
//! send buffer keeps what is sent in the processor's cache, but caps a distant client.

use std::ffi::OsString;

use super::{Setting, Variant};
use crate::Result;
use crate::workload::MANIFEST_TYPE;

/// How it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tuning {
    Defaults,
    SmallSendBuffer,
}

/// `-c <file>` in the foreground.
pub(super) fn arguments(setting: &Setting<'_>, tuning: Tuning) -> Result<Vec<OsString>> {
    let home = setting.home.display();
    std::fs::create_dir_all(setting.home.join("data"))?;
    let (send_buffer, cache) = match tuning {
        Tuning::Defaults => ("", ""),
        Tuning::SmallSendBuffer => (" sndbuf=256k", "open_file_cache max=10000;"),
    };
    let (ssl, certificate) = match setting.variant {
        Variant::Plain | Variant::Htpasswd | Variant::Bucket => ("", String::new()),
        Variant::Tls => (
            " ssl",
            format!(
                "ssl_protocols TLSv1.3; ssl_certificate '{}'; ssl_certificate_key '{}';",
                setting.certificate.file.display(),
                setting.certificate.key_file.display()
            ),
        ),
    };
    // A superuser's workers would else be another user's, who cannot read the data.
    let user = match rustix::process::geteuid().is_root() {
        true => "user root;",
        false => "",
    };
    let address = setting.address;
    let text = format!(
        "daemon off; {user} worker_processes 2; pid '{home}/pid'; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; default_type application/octet-stream;
  keepalive_timeout 600s; keepalive_requests 1000000000;
  client_body_temp_path '{home}/body'; proxy_temp_path '{home}/proxy'; fastcgi_temp_path '{home}/fastcgi';
  uwsgi_temp_path '{home}/uwsgi'; scgi_temp_path '{home}/scgi';
  {cache} {certificate}
  server {{
    listen {address}{ssl}{send_buffer} backlog=4096;
    root '{home}/data';
    location = /v2/ {{ return 200 '{{}}'; }}
    location ~ /manifests/ {{ default_type {MANIFEST_TYPE}; }}
  }}
}}
"
    );
    let path = setting.home.join("nginx.conf");
    std::fs::write(&path, text)?;
    Ok(vec![
        "-p".into(),
        setting.home.into(),
        "-c".into(),
        path.into(),
    ])
}
