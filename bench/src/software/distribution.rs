//! Distribution's configuration file, which Holdfast reads as well.

use std::ffi::OsString;
use std::fmt::Write as _;

use super::{Setting, Variant};
use crate::Result;
use crate::gateway::KEYS;

/// The file, in the server's directory.
pub(crate) const CONFIG: &str = "config.yml";
/// A file in the server's directory with sections that a workload wants beside the others.
pub(crate) const MORE: &str = "more.yml";

/// `serve <file>`, with Distribution's stock configuration but for its address, directory and logs.
pub(super) fn arguments(setting: &Setting<'_>) -> Result<Vec<OsString>> {
    let storage = storage(setting)?;
    let mut text = format!(
        "version: 0.1
log:
  level: warn
  accesslog: {{disabled: true}}
storage:
  cache: {{blobdescriptor: inmemory}}
  {storage}
  delete: {{enabled: true}}
http:
  addr: '{}'
  secret: the same for every start
",
        setting.address
    );
    match setting.variant {
        Variant::Plain => {}
        // The others have no such section and pass it over. Checks of their own would count as requests.
        Variant::Bucket => writeln!(
            text,
            "metadata: {{path: '{}'}}\nhealth: {{storagedriver: {{enabled: false}}}}",
            setting.home.join("metadata.db").display()
        )?,
        Variant::Tls => writeln!(
            text,
            "  tls: {{certificate: '{}', key: '{}'}}",
            setting.certificate.file.display(),
            setting.certificate.key_file.display()
        )?,
        Variant::Htpasswd => {
            let path = setting.home.join("htpasswd");
            std::fs::write(&path, setting.htpasswd)?;
            let path = path.display();
            writeln!(
                text,
                "auth:\n  htpasswd: {{realm: bench, path: '{path}'}}\n"
            )?;
        }
    }
    if let Ok(more) = std::fs::read_to_string(setting.home.join(MORE)) {
        text.push_str(&more);
    }
    let path = setting.home.join(CONFIG);
    std::fs::write(&path, text)?;
    Ok(vec!["serve".into(), path.into()])
}

/// The driver's section, on one line.
fn storage(setting: &Setting<'_>) -> Result<String> {
    if setting.variant != Variant::Bucket {
        let data = setting.home.join("data");
        std::fs::create_dir_all(&data)?;
        return Ok(format!(
            "filesystem: {{rootdirectory: '{}'}}",
            data.display()
        ));
    }
    let gateway = setting.gateway.ok_or("there is no gateway")?;
    let name = setting.home.file_name().ok_or("a home has a name")?;
    let bucket = name.to_string_lossy();
    gateway.make_bucket(&bucket)?;
    let (id, secret) = KEYS;
    Ok(format!(
        "s3: {{bucket: {bucket}, region: us-east-1, regionendpoint: 'http://{}', forcepathstyle: true, \
         accesskey: {id}, secretkey: '{secret}', secure: false}}",
        gateway.address()
    ))
}
