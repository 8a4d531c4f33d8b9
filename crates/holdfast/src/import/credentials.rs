//! Who asks another registry: what `docker login` has stored.
//!
//! Source: Docker's `config.json` and the protocol of its credential helpers.

use std::collections::HashMap;
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::Failure;

/// A login.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Credentials {
    /// The user.
    pub(crate) user: String,
    /// The password.
    pub(crate) password: String,
    /// A token for tokens, in place of both.
    pub(crate) identity_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials of {:?}", self.user)
    }
}

impl Credentials {
    /// `user:password`, if there is a password.
    pub(super) fn basic(&self) -> Option<String> {
        let has_password = self.identity_token.is_none() && !self.user.is_empty();
        has_password.then(|| format!("{}:{}", self.user, self.password))
    }

    /// What Docker's configuration file says about a registry.
    pub(crate) fn from_docker(config: &Path, host: &str) -> Result<Option<Credentials>, Failure> {
        let text = match std::fs::read(config) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", config.display())),
        };
        let config: DockerConfig = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}", config.display()))?;
        config.credentials(host)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    auths: HashMap<String, Login>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: String,
    username: String,
    password: String,
    identitytoken: Option<String>,
}

impl DockerConfig {
    fn credentials(&self, host: &str) -> Result<Option<Credentials>, Failure> {
        let names = names(host);
        for name in &names {
            if let Some(helper) = self.cred_helpers.get(name) {
                return ask_helper(helper, name);
            }
        }
        for name in &names {
            let Some(login) = self.auths.get(name) else {
                continue;
            };
            if let Some(credentials) = login.credentials()? {
                return Ok(Some(credentials));
            }
            if let Some(helper) = &self.creds_store {
                return ask_helper(helper, name);
            }
        }
        Ok(None)
    }
}

/// What a registry may be called in the file.
fn names(host: &str) -> Vec<String> {
    let mut names = vec![
        host.to_owned(),
        format!("https://{host}"),
        format!("https://{host}/v1/"),
        format!("https://{host}/v2/"),
    ];
    if matches!(host, "docker.io" | "registry-1.docker.io") {
        names.push("https://index.docker.io/v1/".to_owned());
    }
    names
}

impl Login {
    fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let (mut user, mut password) = (self.username.clone(), self.password.clone());
        if !self.auth.is_empty() {
            let decoded = BASE64_STANDARD
                .decode(&self.auth)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
            let pair = pair.ok_or("a login in Docker's configuration is not understood")?;
            (user, password) = (pair.0.to_owned(), pair.1.to_owned());
        }
        let identity_token = self.identitytoken.clone().filter(|token| !token.is_empty());
        if user.is_empty() && identity_token.is_none() {
            return Ok(None);
        }
        Ok(Some(Credentials {
            user,
            password,
            identity_token,
        }))
    }
}

/// Asks `docker-credential-<helper>`.
fn ask_helper(helper: &str, server: &str) -> Result<Option<Credentials>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(server.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        // It knows no such server.
        return Ok(None);
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{program}: {error}"))?;
    let token = answer.username == "<token>";
    Ok(Some(Credentials {
        identity_token: token.then(|| answer.secret.clone()),
        user: answer.username,
        password: answer.secret,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins() {
        let config = r#"{"auths": {
            "localhost:5000": {"auth": "YWxpY2U6c2VjOnJldA=="},
            "https://index.docker.io/v1/": {"auth": "Ym9iOng="},
            "tokens.example": {"auth": "Yzo=", "identitytoken": "abc"},
            "empty.example": {},
            "bad.example": {"auth": "%"}
        }}"#;
        let config: DockerConfig = serde_json::from_str(config).unwrap();
        let basic = |host| {
            let found = config.credentials(host).unwrap();
            found.and_then(|found| found.basic())
        };
        assert_eq!(basic("localhost:5000").as_deref(), Some("alice:sec:ret"));
        assert_eq!(basic("docker.io").as_deref(), Some("bob:x"));
        assert_eq!(basic("empty.example"), None);
        assert_eq!(basic("other.example"), None);
        let token = config.credentials("tokens.example").unwrap().unwrap();
        assert_eq!(
            (token.basic(), token.identity_token.as_deref()),
            (None, Some("abc"))
        );
        assert!(config.credentials("bad.example").is_err());
        let shown = format!("{:?}", config.credentials("localhost:5000").unwrap());
        assert!(shown.contains("alice") && !shown.contains("sec"));
    }
}
